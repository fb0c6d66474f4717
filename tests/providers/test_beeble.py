"""Beeble: every documented sample in the ledger's exact words, and what its habits ask of us."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from beeble_samples import CDN, ERROR, FAILURE_EVENT, REQUEST, STATUS, SUCCESS_EVENT, account
from civitai_samples import NOW, encoded, inbound, response

from receiver.config.units import budget
from receiver.ledger.records import BlobSeen, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import Page, Unreadable, UpstreamBusy, UpstreamGone, UpstreamRefused

BEEBLE = provider_named("beeble")
MADE = datetime(2026, 2, 23, 10, 0, tzinfo=UTC)
ENDED = datetime(2026, 2, 23, 10, 5, tzinfo=UTC)
IN_72_HOURS = ENDED + timedelta(hours=72)


def blob(slot: str, query: str = "", ends: datetime | None = IN_72_HOURS) -> BlobSeen:
    return BlobSeen(
        id=f"swx_abc123~{slot}",
        type="video",
        slot=slot,
        available=True,
        url=f"{CDN}{slot}.mp4{query}",
        url_expires_at=ends,
    )


def looked(**fields: Any) -> Reading:
    return BEEBLE.read_status("swx_abc123", response(200, encoded({**STATUS, **fields})), account())


def test_the_success_callback_becomes_exactly_this() -> None:
    assert BEEBLE.read(inbound(encoded(SUCCESS_EVENT)), account()) == Reading(
        "swx_abc123",
        (
            Observation(
                Level.WORKFLOW, status=Status.SUCCEEDED, word="completed", upstream_at=ENDED, completed_at=ENDED
            ),
        ),
        (blob("render"), blob("source"), blob("alpha")),
    )


def test_the_failure_callback_becomes_exactly_this() -> None:
    assert BEEBLE.read(inbound(encoded(FAILURE_EVENT)), account()) == Reading(
        "swx_abc123",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.FAILED,
                word="failed",
                upstream_at=ENDED,
                completed_at=ENDED,
                facts={"error": {"message": "Processing failed"}},
            ),
        ),
    )


def test_the_status_object_becomes_exactly_this_with_urls_signed_by_that_very_answer() -> None:
    date = datetime(2026, 3, 1, tzinfo=UTC)
    asked = response(200, encoded(STATUS), date=date)
    ends = date + timedelta(hours=72)
    assert BEEBLE.read_status("swx_abc123", asked, account()) == Reading(
        "swx_abc123",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="completed",
                completed_at=ENDED,
                submitted_at=MADE,
                progress=1.0,
                facts={
                    "generation_type": "video",
                    "alpha_mode": "auto",
                    "seed": 123456,
                    "modified_at": "2026-02-23T10:05:00Z",
                    "webhook": {"status": "failed", "attempts": 5, "last_error": "HTTP 502 Bad Gateway"},
                },
            ),
        ),
        (blob("render", "?sig=2", ends), blob("source", "?sig=2", ends)),
        snapshot=True,
        complete=True,
    )


def test_a_url_that_says_when_it_expires_is_believed_before_the_72_hours() -> None:
    url = f"{CDN}render.mp4?Expires=1769034701"
    (seen,) = looked(output={"render": url}).blobs
    assert seen.url_expires_at == datetime.fromtimestamp(1769034701, UTC)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("in_queue", Status.SCHEDULED),
        ("processing", Status.PROCESSING),
        ("completed", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("success", Status.SUCCEEDED),
        ("cancelled", Status.CANCELED),
        ("credit_required", Status.FAILED),
        ("dreaming", None),
    ],
)
def test_its_words_old_and_new_have_one_meaning_each(word: str, status: Status | None) -> None:
    (found,) = looked(status=word).observations
    assert (found.status, found.word) == (status, word)


def test_progress_is_a_share_of_one() -> None:
    told = (37, 0, 250, None, True, "40")
    assert [looked(progress=value).observations[0].progress for value in told] == [0.37, 0.0, 1.0, None, None, None]


def test_a_callback_that_leaves_something_out_asks_for_a_look() -> None:
    for event in ({**SUCCESS_EVENT, "output": None}, {**SUCCESS_EVENT, "status": "dreaming"}, {"id": "swx_1"}):
        assert BEEBLE.read(inbound(encoded(event)), account()).needs_look, event
    assert not BEEBLE.read(inbound(encoded(FAILURE_EVENT)), account()).needs_look


def test_outputs_of_the_product_api_are_files_too_and_what_is_no_url_is_none() -> None:
    outputs = {"matte": f"{CDN}matte.png", "main": {"url": f"{CDN}x.mov"}, "note": "later", "n": 3}
    found = looked(output=None, outputs=outputs).blobs
    assert [(seen.id, seen.type) for seen in found] == [("swx_abc123~matte", "image"), ("swx_abc123~main", "video")]


def test_an_output_whose_name_makes_no_id_is_unreadable() -> None:
    for name in ("a/b", "x" * 300, "\u200b"):
        with pytest.raises(Unreadable, match="output's id"):
            looked(output={name: f"{CDN}a.mp4"})


def test_the_answer_to_a_submission_may_be_a_bare_id() -> None:
    kept = {key: value for key, value in REQUEST.items() if key != "callback_url"}
    assert BEEBLE.track({"id": "swx_1"}, REQUEST) == Reading(
        "swx_1",
        (
            Observation(
                Level.WORKFLOW,
                facts={"generation_type": "video", "alpha_mode": "auto", "request": kept},
            ),
        ),
    )


def test_a_submission_repeated_with_its_idempotency_key_is_read_as_the_job_is_by_then() -> None:
    reading = BEEBLE.track(STATUS, None)
    assert not reading.snapshot
    assert reading.observations[0].status is Status.SUCCEEDED
    assert [seen.url_expires_at for seen in reading.blobs] == [IN_72_HOURS, IN_72_HOURS]


def test_the_request_alone_names_no_workflow_and_keeps_no_callback() -> None:
    reading = BEEBLE.track(None, REQUEST)
    assert reading.workflow_id == ""
    assert "hook-secret" not in repr(reading)


def test_its_key_travels_in_its_own_header_and_product_jobs_live_elsewhere() -> None:
    asked = BEEBLE.status_request("swx_1", account(), {})
    assert (asked.method, asked.url) == ("GET", "https://api.beeble.ai/v1/switchx/generations/swx_1")
    assert asked.headers == {"accept": "application/json", "x-api-key": "api-secret"}
    assert BEEBLE.status_request("dap_1", account(), {}).url == "https://api.beeble.ai/v1/product-jobs/dap_1"
    assert [probe.request.url for probe in BEEBLE.probes(account())] == ["https://api.beeble.ai/v1/account/info"]


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, encoded(ERROR), UpstreamRefused),
        (404, b'{"error":{"code":"JOB_NOT_FOUND","message":"gone"}}', UpstreamGone),
        (429, b'{"error":{"code":"RATE_LIMIT_EXCEEDED","message":"slow"}}', UpstreamBusy),
        (500, b'{"error":{"code":"INTERNAL_ERROR","message":"oops"}}', UpstreamBusy),
    ],
)
def test_an_answer_that_is_no_status_is_named_by_fault(status: int, body: bytes, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        BEEBLE.read_status("swx_abc123", response(status, body), account())


def test_another_jobs_answer_is_not_read_as_this_ones() -> None:
    with pytest.raises(Unreadable, match="another job"):
        BEEBLE.read_status("swx_other", response(200, encoded(STATUS)), account())


def test_one_list_of_a_hundred_answers_for_many() -> None:
    asked = BEEBLE.bulk_status(["swx_abc123", "swx_2"], account())
    assert asked is not None
    assert asked.url == "https://api.beeble.ai/v1/switchx/generations?limit=100"
    assert BEEBLE.habits.bulk_size == 100
    assert BEEBLE.bulk_status([], account()) is None
    other = {**STATUS, "id": "swx_other", "status": "processing", "output": None}
    found = BEEBLE.read_bulk(response(200, encoded({"jobs": [STATUS, other, {"id": 3}]})), account())
    assert [(reading.workflow_id, reading.snapshot) for reading in found] == [("swx_abc123", True), ("swx_other", True)]


def test_urls_of_a_list_count_from_the_jobs_end_and_are_left_out_when_that_is_too_long_ago() -> None:
    body = encoded({"jobs": [STATUS]})
    soon = response(200, body, date=ENDED + timedelta(hours=1))
    late = response(200, body, date=ENDED + timedelta(hours=73))
    (fresh,) = BEEBLE.read_bulk(soon, account())
    assert [seen.url_expires_at for seen in fresh.blobs] == [IN_72_HOURS, IN_72_HOURS]
    (old,) = BEEBLE.read_bulk(late, account())
    assert [(seen.hidden, seen.url, seen.available) for seen in old.blobs] == [(True, None, None), (True, None, None)]


def page(jobs: list[Any], token: str | None, since: datetime) -> Page:
    asked = BEEBLE.list(since, NOW + timedelta(days=365), account())
    assert asked is not None
    body = json.dumps({"jobs": jobs, "next_page_token": token}).encode()
    return BEEBLE.read_list(response(200, body), account(), asked)


def test_a_listing_turns_pages_by_their_token_and_ends_without_one() -> None:
    turned = page([STATUS], "t/2", MADE - timedelta(hours=1))
    assert turned.next is not None
    assert parse_qs(urlsplit(turned.next.url).query) == {"limit": ["100"], "page_token": ["t/2"]}
    assert page([STATUS], None, MADE - timedelta(hours=1)).next is None


def test_a_listing_stops_where_the_window_begins_and_leaves_out_what_is_older() -> None:
    older = {**STATUS, "id": "swx_old", "created_at": "2026-02-22T10:00:00Z"}
    read = page([STATUS, older], "more", MADE - timedelta(hours=1))
    assert [reading.workflow_id for reading in read.readings] == ["swx_abc123"]
    assert read.next is None


def test_a_list_without_jobs_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="no `jobs`"):
        BEEBLE.read_bulk(response(200, b'{"items":[]}'), account())


def test_it_is_asked_no_faster_than_five_times_a_minute() -> None:
    assert BEEBLE.habits.budget is not None
    assert str(budget(BEEBLE.habits.budget)) == "5/min"
    assert min(BEEBLE.habits.poll) >= 12
