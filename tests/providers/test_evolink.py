"""EvoLink: every documented sample in the ledger's exact words, single and in batches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from civitai_samples import NOW, encoded, inbound, response
from evolink_samples import COMPLETED, FAILED, LISTED, REQUEST, SUBMITTED, account

from receiver.ledger.records import BlobSeen, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import Page, Unreadable, UpstreamRefused

EVOLINK = provider_named("evolink")
ID = "task-unified-1757169743-8dxnm6yz"
MADE = datetime.fromtimestamp(1757169743, UTC)

FACTS: dict[str, Any] = {
    "model": "gpt-image-2",
    "object": "image.generation.task",
    "media_type": "image",
    "task_info": {"can_cancel": False},
    "usage": {"billing_rule": "per_call", "credits_reserved": 1.6, "credits_used": 1.6, "user_group": "default"},
}
FILE = BlobSeen(
    id=f"{ID}~0",
    type="image",
    slot="0",
    available=True,
    url="https://files.evolink.ai/t/0.png",
    media_expires_at=MADE + timedelta(hours=24),
)


def delivered(document: Any) -> Reading:
    return EVOLINK.read(inbound(encoded(document)), account())


def test_the_callback_and_the_answer_to_a_look_say_the_same() -> None:
    observation = Observation(
        Level.WORKFLOW, status=Status.SUCCEEDED, word="completed", submitted_at=MADE, progress=1.0, facts=FACTS
    )
    assert delivered(COMPLETED) == Reading(ID, (observation,), (FILE,))
    looked = EVOLINK.read_status(ID, response(200, encoded(COMPLETED)), account())
    assert looked == Reading(ID, (observation,), (FILE,), snapshot=True, complete=True)


def test_a_failed_task_keeps_its_error_and_its_credits_as_they_are() -> None:
    assert delivered(FAILED) == Reading(
        "task-unified-1772618027-cmeisy8h",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.FAILED,
                word="failed",
                submitted_at=datetime.fromtimestamp(1772618027, UTC),
                progress=0.0,
                facts={
                    "model": "happyhorse",
                    "object": "video.generation.task",
                    "media_type": "video",
                    "task_info": {"can_cancel": False, "video_duration": 5},
                    "usage": {"billing_rule": "per_second", "credits_reserved": 20, "user_group": "default"},
                    "error": {
                        "code": "content_policy_violation",
                        "message": "Content policy violation. Details: photorealistic people detected. …",
                    },
                },
            ),
        ),
    )


def test_the_submit_answer_and_the_request_become_exactly_this() -> None:
    reading = EVOLINK.track(SUBMITTED, REQUEST)
    (found,) = reading.observations
    assert (reading.workflow_id, reading.snapshot, found.status, found.word) == (ID, False, Status.SCHEDULED, "pending")
    assert found.facts["request"] == {"model": "gpt-image-2", "prompt": "a fox"}
    assert found.facts["model"] == "gpt-image-2"
    assert found.facts["usage"]["credits_reserved"] == 1.6
    assert EVOLINK.track(None, REQUEST).workflow_id == ""


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.SCHEDULED),
        ("processing", Status.PROCESSING),
        ("completed", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("cancelled", Status.CANCELED),
        ("canceled", None),
    ],
)
def test_its_words_have_one_meaning_each(word: str, status: Status | None) -> None:
    (found,) = delivered({**COMPLETED, "status": word}).observations
    assert (found.status, found.word) == (status, word)


def test_a_status_word_alone_decides_whatever_the_error_is_called() -> None:
    for code in ("generation_timeout", "request_cancelled", "paid_outcome_unknown"):
        (found,) = delivered({**FAILED, "error": {"code": code, "message": "m"}}).observations
        assert found.status is Status.FAILED
        assert found.facts["error"]["code"] == code


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ({"code": 503, "message": "busy"}, {"code": "503", "message": "busy"}),
        ({"code": "service_error"}, {"code": "service_error"}),
        ({"code": True, "message": 3}, None),
        ("it broke", {"message": "it broke"}),
        ([], None),
    ],
)
def test_an_error_code_may_be_a_number_or_a_word(error: Any, kept: Any) -> None:
    assert delivered({**FAILED, "error": error}).observations[0].facts.get("error") == kept


def test_an_event_that_leaves_something_out_asks_for_a_look() -> None:
    unexplained = {key: value for key, value in FAILED.items() if key != "error"}
    for event in (unexplained, {**COMPLETED, "results": []}, {**COMPLETED, "status": "odd"}):
        assert delivered(event).needs_look, event
    for event in (COMPLETED, FAILED, {**COMPLETED, "status": "cancelled"}):
        assert not delivered(event).needs_look, event


def test_the_answer_to_a_look_never_asks_for_another() -> None:
    for document in ({**COMPLETED, "results": None}, {**COMPLETED, "status": "failed"}, {**COMPLETED, "status": "odd"}):
        assert not EVOLINK.read_status(ID, response(200, encoded(document)), account()).needs_look


def test_the_24_hours_count_from_the_instant_in_the_id_when_nothing_else_tells_one() -> None:
    task = {key: value for key, value in COMPLETED.items() if key != "created"}
    assert delivered(task).blobs == (FILE,)
    assert delivered({**task, "id": "task-unified-x"}).blobs[0].media_expires_at is None


def test_looking_again_never_moves_the_24_hours() -> None:
    later = EVOLINK.read_status(ID, response(200, encoded(COMPLETED), date=NOW + timedelta(days=9)), account())
    assert later.blobs == (FILE,)


def test_results_and_nothing_else_are_files() -> None:
    task = {
        **COMPLETED,
        "results": ["https://a/1.mp4", "no url", {"url": "https://a/3.wav"}],
        "result_data": [{"u": 1}],
    }
    reading = delivered(task)
    assert [(seen.id, seen.type) for seen in reading.blobs] == [(f"{ID}~0", "video"), (f"{ID}~2", "audio")]
    assert reading.observations[0].facts["result_data"] == [{"u": 1}]


def test_an_id_of_another_form_is_not_asked_about() -> None:
    assert EVOLINK.status_request(ID, account(), {}).url == f"https://api.evolink.ai/v1/tasks/{ID}"
    assert EVOLINK.status_request(ID, account(), {}).headers["authorization"] == "Bearer api-secret"
    with pytest.raises(UpstreamRefused, match="task-unified-") as caught:
        EVOLINK.status_request("swx_1", account(), {})
    assert caught.value.status == 400


def test_fifty_tasks_are_asked_about_in_one_read() -> None:
    ids = [f"task-unified-1757169743-{n}" for n in range(60)]
    asked = EVOLINK.bulk_status(["swx_1", *ids], account())
    assert asked is not None
    assert asked.body is not None
    assert (asked.method, asked.url) == ("POST", "https://api.evolink.ai/v1/tasks/batch")
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.body) == {"task_ids": ids[:50]}
    assert EVOLINK.habits.bulk_size == 50
    assert EVOLINK.bulk_status(["swx_1"], account()) is None


def test_a_batch_reads_each_task_once_and_looks_again_where_links_are_left_out() -> None:
    bare = {**COMPLETED, "id": "task-unified-2-b"}
    del bare["results"]
    found = EVOLINK.read_bulk(response(200, encoded({"data": [COMPLETED, bare, {"id": 1}, COMPLETED]})), account())
    assert [(one.workflow_id, one.snapshot, one.complete, one.needs_look) for one in found] == [
        (ID, True, True, False),
        ("task-unified-2-b", True, False, True),
    ]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_upstream_without_the_batch_refuses_it_and_knows_the_tasks_all_the_same(status: int) -> None:
    asked = EVOLINK.list(MADE, NOW, account())
    assert asked is not None
    with pytest.raises(UpstreamRefused):
        EVOLINK.read_bulk(response(status, b""), account())
    with pytest.raises(UpstreamRefused):
        EVOLINK.read_list(response(status, b""), account(), asked)


def page(body: Any, since: datetime = MADE - timedelta(hours=1)) -> Page:
    asked = EVOLINK.list(since, NOW, account())
    assert asked is not None
    return EVOLINK.read_list(response(200, encoded(body)), account(), asked)


def test_a_listed_task_names_no_links_and_so_wants_a_look_once_it_has_ended() -> None:
    alive = {**LISTED, "id": "task-unified-1757169744-x", "status": "processing", "created_at": "2025-09-06T14:42:24Z"}
    ended, running = page({"data": [LISTED, alive], "total": 2, "page": 1, "page_size": 50}).readings
    assert (ended.workflow_id, ended.blobs, ended.complete, ended.needs_look) == (ID, (), False, True)
    assert ended.observations[0].submitted_at == MADE
    assert (running.needs_look, running.observations[0].submitted_at) == (False, MADE + timedelta(seconds=1))


def test_pages_are_turned_until_the_total_is_reached() -> None:
    turned = page({"data": [LISTED], "total": 120, "page": 1, "page_size": 50}).next
    assert turned is not None
    assert parse_qs(urlsplit(turned.url).query) == {"page": ["2"], "page_size": ["50"]}
    assert page({"data": [LISTED], "total": 50, "page": 1, "page_size": 50}).next is None
    assert page({"data": [LISTED]}).next is None
    assert page({"data": [LISTED] * 50}).next is not None


def test_an_upstream_that_ignores_the_page_is_not_asked_for_ever() -> None:
    body = encoded({"data": [LISTED] * 50, "total": 10**6})
    asked = EVOLINK.list(MADE, NOW, account())
    assert asked is not None
    second = EVOLINK.read_list(response(200, body), account(), asked).next
    assert second is not None
    assert EVOLINK.read_list(response(200, body), account(), second).next is None


def test_another_tasks_answer_is_not_read_as_this_ones() -> None:
    with pytest.raises(Unreadable, match="another task"):
        EVOLINK.read_status("task-unified-1-x", response(200, encoded(COMPLETED)), account())
