"""RemoveBGVideo: documented answers and headers, and every plausible shape of the body that is not documented."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from civitai_samples import NOW, encoded, response
from removebgvideo_samples import (
    ASSUMED_EVENT,
    DELIVERY,
    FILE,
    HEADERS,
    JOB,
    REQUEST,
    STARTED,
    VECTOR_BODY,
    VECTOR_HEADERS,
    VECTOR_SECRET,
    account,
)

from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import BadSignature, Inbound, Page, Unreadable, UpstreamBusy, UpstreamGone, UpstreamRefused

RBV = provider_named("removebgvideo")
MADE = datetime(2026, 4, 20, 10, 0, tzinfo=UTC)
OUTPUT = BlobSeen(id="job_123~output", type="video", slot="output", available=True, url=FILE)


def delivery(body: bytes, headers: dict[str, str] | None = None, query: dict[str, str] | None = None) -> Inbound:
    return Inbound(HEADERS if headers is None else headers, query or {}, body, MADE)


def read(document: Any, event: str | None = None, trust: Trust = Trust.TOKEN) -> Reading:
    headers = {"x-webhook-delivery-id": DELIVERY} | ({"x-webhook-event": event} if event else {})
    return RBV.read(delivery(encoded(document), headers), account(trust))


def test_the_assumed_delivery_becomes_exactly_this() -> None:
    assert RBV.read(delivery(encoded(ASSUMED_EVENT)), account()) == Reading(
        "job_123",
        (Observation(Level.WORKFLOW, status=Status.SUCCEEDED, word="completed"),),
        (OUTPUT,),
        identity=DELIVERY,
        needs_look=True,
    )


def test_the_job_becomes_exactly_this_and_its_webhook_url_is_not_kept() -> None:
    reading = RBV.read_status("job_123", response(200, encoded(JOB)), account())
    assert reading == Reading(
        "job_123",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="completed",
                submitted_at=MADE,
                progress=1.0,
                facts={
                    "duration_seconds": 12.3,
                    "usage": {"billing_status": "charged"},
                    "webhook_events": {"job.started": "sent", "job.completed": "sent"},
                },
            ),
        ),
        (OUTPUT,),
        snapshot=True,
        complete=True,
    )
    assert "hook-secret" not in repr(reading)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "job_123", "status": "completed"},
        {"job_id": "job_123", "status": "completed"},
        {"jobId": "job_123", "status": "completed"},
        {"data": {"id": "job_123", "status": "completed"}},
        {"data": {"job_id": "job_123", "status": "completed"}},
        {"data": {"job": {"id": "job_123", "status": "completed"}}},
        {"job": {"id": "job_123", "status": "completed"}},
        {"payload": {"id": "job_123", "status": "completed"}},
        {"id": DELIVERY, "job_id": "job_123", "status": "completed"},
        {"id": DELIVERY, "job": {"id": "job_123", "status": "completed"}},
        {"event": "job.completed", "id": "job_123"},
        {"event": "job.completed", "job": "job_123"},
        {"type": "job.completed", "data": {"id": "job_123"}},
        {"event": {"type": "job.completed"}, "data": {"id": "job_123"}},
        {"event_type": "job.completed", "id": "job_123", "data": {"output_url": FILE}},
        [{"id": "job_123", "status": "completed"}],
    ],
)
def test_every_plausible_shape_names_the_job_and_its_end(body: Any) -> None:
    reading = read(body)
    assert (reading.workflow_id, reading.observations[0].status) == ("job_123", Status.SUCCEEDED)
    assert reading.needs_look


@pytest.mark.parametrize(
    ("event", "status"),
    [("job.started", Status.PROCESSING), ("job.completed", Status.SUCCEEDED), ("job.failed", Status.FAILED)],
)
def test_the_header_names_the_event_when_the_body_does_not(event: str, status: Status) -> None:
    assert read({"id": "job_123"}, event).observations[0].status is status
    # The signature does not cover headers: what only a header says ends nothing.
    assert read({"id": "job_123"}, event, Trust.SIGNED).observations[0].status is None


def test_the_deliverys_own_id_is_not_taken_for_the_jobs() -> None:
    reading = read({"id": DELIVERY, "event": "job.completed", "data": {"status": "completed", "output_url": FILE}})
    assert (reading.workflow_id, reading.blobs) == ("", ())
    assert reading.observations[0].status is Status.SUCCEEDED


def test_a_body_that_its_event_contradicts_moves_nothing() -> None:
    (found,) = read({"id": "job_123", "status": "processing", "progress": 40}, "job.completed").observations
    assert (found.status, found.word, found.progress) == (None, "processing", None)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'"ok"', b"<html>", b"event=job.completed", b"[]"])
def test_headers_alone_say_that_something_happened(body: bytes) -> None:
    reading = RBV.read(delivery(body), account())
    assert reading == Reading(
        "",
        (Observation(Level.WORKFLOW, status=Status.SUCCEEDED, word="completed"),),
        identity=DELIVERY,
        needs_look=True,
    )
    with pytest.raises(Unreadable):
        RBV.read(delivery(body, {}), account())


def test_a_delivery_that_names_an_impossible_job_is_unreadable() -> None:
    for given in ("../x", "", "a/b", 7, ["job_123"], "x" * 300):
        with pytest.raises(Unreadable):
            read({"data": {"id": given}}, "job.completed")


def test_a_garbage_delivery_id_is_no_identity() -> None:
    for given in ("", "a/b", "\xff\x00", "x" * 300):
        headers = {**HEADERS, "x-webhook-delivery-id": given}
        assert RBV.read(delivery(encoded(ASSUMED_EVENT), headers), account()).identity == ""


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ("Processing failed", {"message": "Processing failed"}),
        ("timeout", {"code": "timeout", "message": "timeout"}),
        ({"code": "internal_error", "message": "m"}, {"code": "internal_error", "message": "m"}),
        (None, None),
    ],
)
def test_the_error_of_a_failed_job_is_a_sentence_or_a_code(error: Any, kept: Any) -> None:
    found = read({"data": {"id": "job_123", "status": "failed", "error": error}}).observations[0]
    assert found.facts.get("error") == kept


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("created", Status.UNASSIGNED),
        ("pending", Status.SCHEDULED),
        ("processing", Status.PROCESSING),
        ("completed", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("uploaded", None),
    ],
)
def test_its_words_of_both_versions_have_one_meaning_each(word: str, status: Status | None) -> None:
    answer = response(200, encoded({**JOB, "status": word}))
    (found,) = RBV.read_status("job_123", answer, account()).observations
    assert (found.status, found.word) == (status, word)


def test_the_documented_vector_is_verified_and_read() -> None:
    mine = account(Trust.SIGNED, tokens=(), secrets=("other-secret-of-ours", VECTOR_SECRET))
    good = delivery(VECTOR_BODY, VECTOR_HEADERS)
    RBV.verify(good, mine)
    assert RBV.read(good, mine).observations[0].status is Status.SUCCEEDED
    for bad in (
        replace(good, body=VECTOR_BODY + b" "),
        replace(good, headers={}),
        replace(good, headers={**VECTOR_HEADERS, "x-webhook-timestamp": "2026-04-20T10:00:01Z"}),
        replace(good, headers={**VECTOR_HEADERS, "x-webhook-signature": "sha256=zz\xff"}),
        replace(good, received_at=MADE + timedelta(minutes=6)),
        replace(good, received_at=MADE - timedelta(minutes=6)),
    ):
        with pytest.raises(BadSignature):
            RBV.verify(bad, mine)


def test_every_configured_proof_is_required_and_without_a_secret_no_signature_is() -> None:
    unsigned = delivery(encoded(ASSUMED_EVENT), query={"token": "hook-secret"})
    RBV.verify(unsigned, account())
    both = account(Trust.SIGNED, secrets=(VECTOR_SECRET,))
    signed = delivery(VECTOR_BODY, VECTOR_HEADERS)
    RBV.verify(replace(signed, query={"token": "hook-secret"}), both)
    for wrong in (unsigned, signed):
        with pytest.raises(BadSignature):
            RBV.verify(wrong, both)


def test_what_a_submitter_has_is_read_and_drafts_are_known_as_such() -> None:
    draft = {**STARTED, "status": "created", "message": "Job created"}
    reading = RBV.track(draft, REQUEST)
    (found,) = reading.observations
    assert (reading.workflow_id, found.status, found.word) == ("job_123", Status.UNASSIGNED, "created")
    kept = {key: value for key, value in REQUEST.items() if key != "webhook_url"}
    assert found.facts == {"request": kept, "model": "pro", "output_format": "webm", "metadata": {"order": "17"}}
    started = RBV.track(STARTED, None)
    assert started == Reading("job_123", (Observation(Level.WORKFLOW, status=Status.PROCESSING, word="processing"),))
    assert RBV.track({"success": False}, REQUEST).workflow_id == ""


def test_a_failed_job_may_run_again() -> None:
    assert RBV.habits.restartable


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (404, b'"Job not found"', UpstreamGone),
        (400, b"Job not completed", UpstreamRefused),
        (429, b'{"error":{"code":"rate_limited","message":"slow"}}', UpstreamBusy),
        (502, b"<html><title>502 Bad Gateway</title></html>", UpstreamBusy),
        (200, b"<html><title>maintenance</title></html>", UpstreamBusy),
    ],
)
def test_an_answer_that_is_no_job_is_named_by_fault(status: int, body: bytes, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        RBV.read_status("job_123", response(status, body), account())


@pytest.mark.parametrize("wrap", [lambda job: {"success": True, "job": job}, lambda job: {"data": job}])
def test_a_job_inside_an_envelope_is_read_as_well_but_never_another_job(wrap: Any) -> None:
    answer = response(200, encoded(wrap(JOB)))
    assert RBV.read_status("job_123", answer, account()).observations[0].status is Status.SUCCEEDED
    with pytest.raises(Unreadable, match="another job"):
        RBV.read_status("job_9", answer, account())


def test_its_key_goes_to_v1_alone() -> None:
    asked = RBV.status_request("job_123", account(), {})
    assert asked.url == "https://api.removebgvideo.com/v1/jobs/job_123"
    assert asked.headers["x-api-key"] == "api-secret"
    probes = {probe.name: probe.request for probe in RBV.probes(account())}
    assert [urlsplit(request.url).path for request in probes.values()] == [
        "/health", "/api/pricing", "/v1/usage/summary",
    ]  # fmt: skip
    assert [name for name, request in probes.items() if "x-api-key" in request.headers] == ["usage summary"]


def page(body: Any, since: datetime = MADE - timedelta(hours=1)) -> Page:
    asked = RBV.list(since, NOW + timedelta(days=365), account())
    assert asked is not None
    return RBV.read_list(response(200, encoded(body)), account(), asked)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda jobs: jobs,
        *(lambda jobs, name=name: {"success": True, name: jobs} for name in ("jobs", "data", "items", "results")),
        lambda jobs: {"data": {"jobs": jobs, "total": 2}},
    ],
)
def test_a_list_is_found_in_every_plausible_envelope(wrap: Any) -> None:
    read_page = page(wrap([JOB, {**JOB, "id": "job_124"}, "no job"]))
    assert [reading.workflow_id for reading in read_page.readings] == ["job_123", "job_124"]
    assert (read_page.skipped, read_page.next) == (1, None)
    assert page(wrap([])) == Page((), None)


def test_a_full_page_is_followed_by_the_next_offset() -> None:
    jobs = [{**JOB, "id": f"job_{n}"} for n in range(20)]
    turned = page(jobs).next
    assert turned is not None
    assert parse_qs(urlsplit(turned.url).query) == {"limit": ["20"], "offset": ["20"]}
    after = RBV.read_list(response(200, encoded([{**JOB, "id": f"n{n}"} for n in range(20)])), account(), turned).next
    assert after is not None
    assert parse_qs(urlsplit(after.url).query)["offset"] == ["40"]
    # An upstream that ignores the offset answers with the first page again.
    assert RBV.read_list(response(200, encoded(jobs)), account(), turned).next is None


def test_a_listed_end_without_its_output_or_its_error_wants_a_look() -> None:
    listed = [{**JOB, "output_url": None}, {**JOB, "status": "failed", "output_url": None}, JOB]
    assert [reading.needs_look for reading in page(listed).readings] == [True, True, False]
