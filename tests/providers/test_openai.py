"""OpenAI: the documented event and every kind of object in the ledger's exact words, and where each is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest
from civitai_samples import NOW, encoded, inbound, response
from openai.types import Batch, Video
from openai.types.fine_tuning import FineTuningJob
from openai.types.responses import ResponseStatus
from openai.types.responses.response_error import ResponseError
from openai.types.webhooks.unwrap_webhook_event import UnwrapWebhookEvent
from openai_samples import API, BATCH, EVENT, RESPONSE, SECRET, VIDEO, account
from signed_deliveries import signed

from receiver.ledger.records import BlobSeen, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.advice import Disposition
from receiver.providers.base import BadSignature, Unreadable, UpstreamRefused

OPENAI = provider_named("openai")
MADE = datetime(2025, 9, 27, 2, 50, tzinfo=UTC)
ENDED = datetime(2025, 9, 27, 2, 51, 25, tzinfo=UTC)


def event(kind: str, workflow_id: str = "resp_abc123") -> Reading:
    body = {**EVENT, "type": kind, "data": {"id": workflow_id}}
    return OPENAI.read(inbound(encoded(body)), account())


def looked(document: dict[str, Any], **fields: Any) -> Reading:
    return OPENAI.read_status(document["id"], response(200, encoded({**document, **fields})), account())


def test_the_documented_event_becomes_exactly_this() -> None:
    assert OPENAI.read(inbound(encoded(EVENT)), account()) == Reading(
        "resp_abc123",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="completed",
                upstream_at=ENDED,
                facts={"locator": {"object": "response"}},
            ),
        ),
        needs_look=True,
    )


EVENTS = {
    "response.completed": ("response", Status.SUCCEEDED),
    "response.failed": ("response", Status.FAILED),
    "response.cancelled": ("response", Status.CANCELED),
    "response.incomplete": ("response", Status.FAILED),
    "batch.completed": ("batch", Status.SUCCEEDED),
    "batch.failed": ("batch", Status.FAILED),
    "batch.expired": ("batch", Status.EXPIRED),
    "batch.cancelled": ("batch", Status.CANCELED),
    "fine_tuning.job.succeeded": ("fine_tuning.job", Status.SUCCEEDED),
    "fine_tuning.job.failed": ("fine_tuning.job", Status.FAILED),
    "fine_tuning.job.cancelled": ("fine_tuning.job", Status.CANCELED),
    "eval.run.succeeded": ("eval.run", Status.SUCCEEDED),
    "eval.run.failed": ("eval.run", Status.FAILED),
    "eval.run.canceled": ("eval.run", Status.CANCELED),
    "video.completed": ("video", Status.SUCCEEDED),
    "video.failed": ("video", Status.FAILED),
    "response.rephrased": ("response", None),
}


@pytest.mark.parametrize(("kind", "about", "status"), [(kind, *said) for kind, said in EVENTS.items()])
def test_every_type_of_event_names_its_object_and_always_asks_for_a_look(
    kind: str, about: str, status: Status | None
) -> None:
    found = event(kind, "x_1")
    assert found.observations[0].status is status
    assert found.observations[0].word == kind.rpartition(".")[2]
    assert found.observations[0].facts == {"locator": {"object": about}}
    assert found.needs_look


def test_every_event_the_library_knows_is_read_or_about_no_workflow() -> None:
    """The library's own union of events: a new one must be looked at by a person."""
    known = {get_args(each.model_fields["type"].annotation)[0] for each in get_args(get_args(UnwrapWebhookEvent)[0])}
    assert {kind for kind in known if kind in EVENTS} == EVENTS.keys() - {
        *("video.completed", "video.failed", "response.rephrased")
    }
    for kind in known - EVENTS.keys():
        assert kind.startswith(("realtime.", "live.", "safety.", "agent.")), kind
        with pytest.raises(Unreadable, match="about no workflow"):
            event(kind)


@pytest.mark.parametrize(
    "body",
    [
        {**EVENT, "data": {"id": "a/b"}},
        {**EVENT, "data": {"id": ".."}},
        {**EVENT, "data": {}},
        {**EVENT, "data": "resp_abc123"},
        {**EVENT, "type": None},
        {**EVENT, "type": 5},
        {**EVENT, "type": "response"},
        {**EVENT, "type": "x" * 9999},
    ],
)
def test_an_event_without_a_lawful_id_or_type_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as caught:
        OPENAI.read(inbound(encoded(body)), account())
    assert len(str(caught.value)) < 300


def test_a_signed_event_is_believed_and_named_by_its_webhook_id() -> None:
    delivery = signed(encoded(EVENT), SECRET, NOW)
    OPENAI.verify(delivery, account())
    assert OPENAI.read(delivery, account()).identity == "msg_1"
    for wrong in (
        replace(delivery, body=delivery.body.replace(b"completed", b"cancelled")),
        replace(delivery, received_at=NOW + timedelta(seconds=301)),
        replace(delivery, headers={}),
    ):
        with pytest.raises(BadSignature):
            OPENAI.verify(wrong, account())


def test_a_response_becomes_exactly_this() -> None:
    assert looked(RESPONSE) == Reading(
        "resp_abc123",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="completed",
                completed_at=ENDED,
                submitted_at=MADE,
                facts={
                    "object": "response",
                    "model": "gpt-5",
                    "usage": RESPONSE["usage"],
                    "metadata": {"order": "17"},
                    "locator": {"object": "response"},
                },
            ),
        ),
        snapshot=True,
        complete=True,
    )


def test_a_batch_becomes_exactly_this() -> None:
    assert looked(BATCH) == Reading(
        "batch_abc123",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="completed",
                started_at=datetime(2025, 9, 26, 15, 21, tzinfo=UTC),
                completed_at=ENDED,
                submitted_at=datetime(2025, 9, 26, 15, 20, tzinfo=UTC),
                facts={
                    "object": "batch",
                    "endpoint": "/v1/responses",
                    "completion_window": "24h",
                    "request_counts": {"total": 10, "completed": 9, "failed": 1},
                    "locator": {"object": "batch"},
                },
            ),
        ),
        (
            BlobSeen("file-out", "file", slot="output_file_id", available=True),
            BlobSeen("file-err", "file", slot="error_file_id", available=True),
        ),
        snapshot=True,
        complete=True,
    )


def test_a_video_has_its_content_until_it_expires() -> None:
    found = looked(VIDEO)
    assert found.blobs == (
        BlobSeen(
            "video_abc123~content",
            "video",
            slot="content",
            available=True,
            media_expires_at=datetime(2025, 9, 27, 3, 51, 25, tzinfo=UTC),
        ),
    )
    running = looked(VIDEO, status="in_progress", progress=40, completed_at=None, expires_at=None)
    assert (running.observations[0].progress, running.blobs) == (0.4, ())


def test_every_word_of_the_library_has_its_status() -> None:
    words = {
        *get_args(ResponseStatus),
        *get_args(Batch.model_fields["status"].annotation),
        *get_args(Video.model_fields["status"].annotation),
        *get_args(FineTuningJob.model_fields["status"].annotation),
        "canceled",
    }
    found = {word: looked(RESPONSE, status=word).observations[0].status for word in words}
    assert found == {
        "queued": Status.SCHEDULED,
        "validating": Status.PREPARING,
        "validating_files": Status.PREPARING,
        "in_progress": Status.PROCESSING,
        "running": Status.PROCESSING,
        "finalizing": Status.PROCESSING,
        "cancelling": Status.PROCESSING,
        "completed": Status.SUCCEEDED,
        "succeeded": Status.SUCCEEDED,
        "failed": Status.FAILED,
        "incomplete": Status.FAILED,
        "expired": Status.EXPIRED,
        "cancelled": Status.CANCELED,
        "canceled": Status.CANCELED,
    }
    assert looked(RESPONSE, status="daydreaming").observations[0].status is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"error": {"code": "server_error", "message": "x"}}, {"code": "server_error", "message": "x"}),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, {"code": "content_filter"}),
        ({"errors": {"data": [{"code": "bad_line", "message": "3", "line": 3}]}}, {"code": "bad_line", "message": "3"}),
        ({"status": "expired"}, {"code": "expired"}),
        ({"status": "canceled"}, {"code": "cancelled"}),
        ({"error": "odd", "errors": 5, "incomplete_details": []}, {"message": "odd"}),
        ({"errors": {"data": []}, "incomplete_details": {"reason": None}}, None),
    ],
)
def test_an_error_is_found_wherever_the_object_has_it(fields: dict[str, Any], error: dict[str, str] | None) -> None:
    assert looked(RESPONSE, **fields).observations[0].facts.get("error") == error


@pytest.mark.parametrize(
    ("workflow_id", "locator", "path"),
    [
        ("resp_1", {}, "/responses/resp_1"),
        ("batch_1", {}, "/batches/batch_1"),
        ("video_1", {}, "/videos/video_1"),
        ("ftjob-1", {}, "/fine_tuning/jobs/ftjob-1"),
        ("evalrun_1", {"eval_id": "eval_9"}, "/evals/eval_9/runs/evalrun_1"),
        ("odd", {"object": "batch"}, "/batches/odd"),
        ("resp_1", {"object": "nonsense"}, "/responses/resp_1"),
        ("resp_1", {"object": 5}, "/responses/resp_1"),
        ("e?x#y", {"object": "eval.run", "eval_id": "a b"}, "/evals/a%20b/runs/e%3Fx%23y"),
    ],
)
def test_the_locator_or_the_ids_prefix_says_where_to_ask(workflow_id: str, locator: dict[str, Any], path: str) -> None:
    asked = OPENAI.status_request(workflow_id, account(), locator)
    assert (asked.method, asked.url) == ("GET", API + path)
    assert asked.headers["authorization"] == "Bearer api-secret"


def test_what_an_event_says_is_enough_to_ask_again() -> None:
    found = event("batch.completed", "odd")
    asked = OPENAI.status_request(found.workflow_id, account(), found.observations[0].facts["locator"])
    assert asked.url == f"{API}/batches/odd"


@pytest.mark.parametrize(
    ("workflow_id", "locator", "wanted"),
    [("odd", {}, "`object`"), ("evalrun_1", {}, "`eval_id`"), ("evalrun_1", {"eval_id": "../x"}, "`eval_id`")],
)
def test_an_object_that_cannot_be_found_is_refused_with_what_is_missing(
    workflow_id: str, locator: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(UpstreamRefused, match=wanted):
        OPENAI.status_request(workflow_id, account(), locator)


def test_a_submission_tells_the_locator_and_the_request() -> None:
    run = {"id": "evalrun_1", "object": "eval.run", "eval_id": "eval_9", "status": "queued", "created_at": 1758941400}
    found = OPENAI.track(run, {"name": "nightly", "metadata": {"order": "17"}})
    assert found.workflow_id == "evalrun_1"
    facts = found.observations[0].facts
    assert facts["locator"] == {"object": "eval.run", "eval_id": "eval_9"}
    assert (facts["request"]["name"], facts["metadata"]) == ("nightly", {"order": "17"})
    assert OPENAI.track(None, {"model": "gpt-5", "input": "x"}).observations[0].facts["model"] == "gpt-5"


def test_batches_are_listed_until_the_window_begins() -> None:
    asked = OPENAI.list(MADE - timedelta(days=1), MADE, account())
    assert asked is not None
    body = {"object": "list", "data": [BATCH, {"id": 5}], "has_more": True}
    assert OPENAI.read_list(response(200, encoded(body)), account(), asked).next is None  # no id to go on from
    page = OPENAI.read_list(response(200, encoded({**body, "data": [{"id": 5}, BATCH]})), account(), asked)
    assert ([each.workflow_id for each in page.readings], page.skipped) == (["batch_abc123"], 1)
    assert page.next is not None
    assert parse_qs(urlsplit(page.next.url).query) == {"limit": ["100"], "after": ["batch_abc123"]}
    older = {**body, "data": [{**BATCH, "id": "batch_old", "created_at": 1700000000}]}
    assert OPENAI.read_list(response(200, encoded(older)), account(), page.next).next is None


def test_every_error_code_of_the_library_has_its_advice() -> None:
    for code in get_args(ResponseError.model_fields["code"].annotation):
        assert OPENAI.errors.advise(None, code).known, code
    for http, code, disposition in (
        (429, "rate_limit_exceeded", Disposition.RETRY_LATER),
        (429, "insufficient_quota", Disposition.FIX_ACCOUNT),
        (401, "invalid_api_key", Disposition.FIX_ACCOUNT),
        (400, "unheard_of", Disposition.FIX_REQUEST),
        (502, None, Disposition.RETRY_LATER),
        (None, "content_filter", Disposition.FIX_REQUEST),
        (None, "expired", Disposition.RETRY),
        (None, None, Disposition.CONTACT),
    ):
        assert OPENAI.errors.advise(http, code).disposition is disposition, code


def test_an_error_at_submit_time_is_read() -> None:
    body = {"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "param": None, "code": None}}
    fault = OPENAI.read_error(429, encoded(body))
    assert (fault.code, fault.message) == ("insufficient_quota", "You exceeded your quota")
