"""Any upstream of Standard Webhooks: its fields and words come from configuration, and wrong ones are named clearly."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from civitai_samples import NOW, encoded, inbound, response
from signed_deliveries import signed
from standard_samples import ANSWER, DONE, FAILED, FILE, OPTIONS, SECRET, account

from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.base import BadSignature, Unreadable, UpstreamRefused
from receiver.providers.standard_webhooks import StandardWebhooks

ACME = StandardWebhooks()
AT = datetime(2026, 8, 1, 10, tzinfo=UTC)
EXPIRES = datetime.fromtimestamp(1786000000, UTC)
BLOB = BlobSeen(
    "job_1~files.0.url", "video", slot="files.0.url", available=True, url=FILE, url_expires_at=EXPIRES
)  # fmt: skip


def without(*names: str, **changed: Any) -> dict[str, Any]:
    return {**{name: value for name, value in OPTIONS.items() if name not in names}, **changed}


def test_an_event_is_read_by_the_sources_options() -> None:
    assert ACME.read(inbound(encoded(DONE)), account()) == Reading(
        "job_1",
        (Observation(Level.WORKFLOW, status=Status.SUCCEEDED, word="job.done", upstream_at=AT),),
        (BLOB,),
    )


def test_a_failure_is_read_with_its_error_and_a_time_in_unix_seconds() -> None:
    assert ACME.read(inbound(encoded(FAILED)), account()) == Reading(
        "job_1",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.FAILED,
                word="job.failed",
                upstream_at=AT,
                facts={"error": {"code": "17", "message": "too dark"}},
            ),
        ),
    )


def test_an_answer_is_read_at_its_own_places() -> None:
    assert ACME.read_status("job_1", response(200, encoded(ANSWER)), account()) == Reading(
        "job_1",
        (Observation(Level.WORKFLOW, status=Status.SUCCEEDED, word="done"),),
        (BLOB,),
        snapshot=True,
        complete=True,
    )


def test_an_answer_is_read_like_an_event_where_nothing_else_is_said() -> None:
    source = account(options=without("answer"))
    found = ACME.read_status("job_1", response(200, encoded(DONE)), source)
    assert (found.observations[0].word, found.observations[0].upstream_at, found.blobs) == ("job.done", None, (BLOB,))


def test_an_unknown_word_moves_nothing_and_asks_for_a_look() -> None:
    found = ACME.read(inbound(encoded({**DONE, "type": "job.paused"})), account())
    assert (found.observations[0].status, found.observations[0].word, found.needs_look) == (None, "job.paused", True)


def test_numbers_serve_as_ids_and_words_and_items_of_lists_are_found_by_place() -> None:
    options = without("answer", id="jobs.1.id", status="jobs.1.code", statuses={"7": "failed"})
    body = {"jobs": [{}, {"id": 42, "code": 7}]}
    found = ACME.read(inbound(encoded(body)), account(options=options))
    assert (found.workflow_id, found.observations[0].status) == ("42", Status.FAILED)
    assert ACME.read_status("42", response(200, encoded(body)), account(options=options)).workflow_id == "42"


@pytest.mark.parametrize(
    "body",
    [
        {"type": "job.done", "data": {"job": {}}},
        {"type": "job.done", "data": {"job": {"id": "../x"}}},
        {"type": "job.done", "data": {"job": {"id": True}}},
        {"type": "job.done", "data": {"job": [1]}},
        {"type": ["job.done"], "data": {"job": {"id": "job_1"}}},
    ],
)
def test_an_event_without_a_lawful_id_or_status_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=r"`(data\.job\.id|type)`"):
        ACME.read(inbound(encoded(body)), account())


def test_an_answer_about_another_workflow_or_without_a_status_is_unreadable() -> None:
    for body in ({**ANSWER, "id": "job_2"}, {"id": "job_1"}, {"id": "job_1", "state": {}}):
        with pytest.raises(Unreadable):
            ACME.read_status("job_1", response(200, encoded(body)), account())
    bare = ACME.read_status("job_1", response(200, b'{"state":"done"}'), account())
    assert bare.workflow_id == "job_1"


@pytest.mark.parametrize("prefix", ["webhook", "svix"])
def test_a_signed_event_is_believed_under_either_name_of_the_headers(prefix: str) -> None:
    delivery = signed(encoded(DONE), SECRET, NOW, prefix=prefix)
    ACME.verify(delivery, account())
    assert ACME.read(delivery, account()).identity == "msg_1"
    for wrong in (
        replace(delivery, body=b"{}"),
        replace(delivery, received_at=NOW + timedelta(seconds=301)),
        replace(delivery, headers={}),
    ):
        with pytest.raises(BadSignature):
            ACME.verify(wrong, account())


def test_a_signed_source_needs_no_key_and_no_address() -> None:
    source = account(api_key=None, options=without("status_url", "answer"))
    assert ACME.account_problem(source) is None
    ACME.verify(signed(encoded(DONE), SECRET, NOW), source)
    assert ACME.read(inbound(encoded(DONE)), source).workflow_id == "job_1"
    with pytest.raises(UpstreamRefused, match="status_url"):
        ACME.status_request("job_1", source, {})


def test_a_look_asks_the_named_address_with_the_key_in_the_named_header() -> None:
    asked = ACME.status_request("a?b", account(), {})
    assert asked.url == "https://api.acme.example/v1/jobs/a%3Fb?full=1"
    assert asked.headers["authorization"] == "Bearer api-secret"
    keyed = ACME.status_request("{id}", account(options=without(key_header="X-Api-Key")), {})
    assert keyed.url == "https://api.acme.example/v1/jobs/%7Bid%7D?full=1"
    assert (keyed.headers["x-api-key"], "authorization" in keyed.headers) == ("api-secret", False)
    assert set(ACME.status_request("x", account(api_key=None), {}).headers) == {"accept"}


def test_complete_options_are_no_problem() -> None:
    for trust in (Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE):
        assert ACME.account_problem(account(trust)) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "options.id is missing"),
        (without("status"), "options.status is missing"),
        (without("statuses"), "options.statuses is missing"),
        (without(statuses={}), "options.statuses must be a table"),
        (without(statuses=["done"]), "options.statuses must be a table"),
        (without(statuses={"done": "finished"}), "options.statuses.done must be one of ours: unassigned, "),
        (without(statuses={"done": 5}), "options.statuses.done must be one of ours"),
        (without(colour="red"), "options.colour is nothing standard-webhooks knows"),
        (without(id=""), "options.id must be the path of a field"),
        (without(id="a..b"), "options.id must be the path of a field"),
        (without(id=5), "options.id must be the path of a field"),
        (without(urls=5), "options.urls must be a list of paths"),
        (without(urls=[5]), "options.urls must be the path of a field"),
        (without(error_code=[]), "options.error_code must be the path of a field"),
        (without(status_url="https://evil.example/{id}"), "options.status_url must be a path below base_url"),
        (without(status_url="//evil.example/{id}"), "options.status_url must be a path below base_url"),
        (without(status_url="/v1/jobs"), "options.status_url must be a path below base_url"),
        (without(status_url="/v1/{id}/{id}"), "options.status_url must be a path below base_url"),
        (without(status_url="/v1/{id}/{name}"), "options.status_url must be a path below base_url"),
        (without(status_url="/v1/{id}#x"), "options.status_url must be a path below base_url"),
        (without(status_url=5), "options.status_url must be a path below base_url"),
        (without(key_header="x y"), "options.key_header must be the name of a header"),
        (without(key_header=5), "options.key_header must be the name of a header"),
        (without(answer=5), "options.answer must be a table"),
        (without(answer={"statuses": {}}), "options.answer.statuses is nothing"),
        (without(answer={"id": 5}), "options.answer.id must be the path of a field"),
    ],
)
def test_wrong_options_are_named_with_what_would_be_right(options: dict[str, Any], said: str) -> None:
    source = account(options=options)
    problem = ACME.account_problem(source)
    assert problem is not None
    assert said in problem
    with pytest.raises(Unreadable):
        ACME.read(inbound(encoded(DONE)), source)
    with pytest.raises(UpstreamRefused):
        ACME.status_request("job_1", source, {})


def test_what_only_asking_makes_certain_needs_an_address_to_ask() -> None:
    for trust in (Trust.TOKEN, Trust.HINT, Trust.NONE):
        problem = ACME.account_problem(account(trust, options=without("status_url")))
        assert problem is not None
        assert "needs options.status_url" in problem
    nowhere = replace(account(), base_url=ACME.habits.default_base_url)
    assert "base_url" in (ACME.account_problem(nowhere) or "")


def test_a_submission_is_tracked_by_the_usual_names_of_an_id() -> None:
    for answer in ({"id": "job_1"}, {"task_id": "job_1"}, {"data": {"job_id": "job_1"}}, {"request_id": "job_1"}):
        assert ACME.track(answer, None).workflow_id == "job_1"
    found = ACME.track({"ok": True}, {"prompt": "a fox", "webhook_url": "https://h.example/?token=hook-secret"})
    assert (found.workflow_id, found.observations[0].facts) == ("", {"request": {"prompt": "a fox"}})
