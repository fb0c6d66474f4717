"""Replicate: the documented prediction in the ledger's exact words, files that live an hour, pages of predictions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from civitai_samples import NOW, encoded, inbound, response
from replicate_samples import API, FAILED, ID, OUTPUT, PREDICTION, REMOVED, REQUEST, SECRET, STARTING, account
from signed_deliveries import signed

from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.advice import Disposition
from receiver.providers.base import BadSignature, CredentialsRefused, Unreadable, UpstreamGone

REPLICATE = provider_named("replicate")
MADE = datetime(2026, 8, 1, 10, 0, 0, 123000, tzinfo=UTC)
BEGAN = datetime(2026, 8, 1, 10, 0, 0, 200000, tzinfo=UTC)
ENDED = datetime(2026, 8, 1, 10, 0, 1, 900000, tzinfo=UTC)
FACTS = {
    "model": "black-forest-labs/flux-schnell",
    "version": "hidden",
    "source": "api",
    "data_removed": False,
    "usage": {"predict_time": 1.7, "total_time": 1.777},
    "request": {"input": {"prompt": "a fox"}},
}
BLOB = BlobSeen(
    id=f"{ID}~0",
    type="image",
    slot="0",
    available=True,
    url=OUTPUT,
    media_expires_at=ENDED + timedelta(hours=1),
)
DONE = Observation(
    Level.WORKFLOW,
    status=Status.SUCCEEDED,
    word="succeeded",
    started_at=BEGAN,
    completed_at=ENDED,
    submitted_at=MADE,
    progress=1.0,
    facts=FACTS,
)


def read(**fields: Any) -> Reading:
    return REPLICATE.read(inbound(encoded({**PREDICTION, **fields})), account())


def test_the_documented_prediction_becomes_exactly_this() -> None:
    assert read() == Reading(ID, (DONE,), (BLOB,))
    looked = REPLICATE.read_status(ID, response(200, encoded(PREDICTION)), account())
    assert looked == Reading(ID, (DONE,), (BLOB,), snapshot=True, complete=True)


def test_a_prediction_that_starts_becomes_exactly_this() -> None:
    found = REPLICATE.read(inbound(encoded(STARTING)), account())
    facts = {**FACTS, "usage": {}}
    assert found == Reading(
        ID, (Observation(Level.WORKFLOW, status=Status.SCHEDULED, word="starting", submitted_at=MADE, facts=facts),)
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("starting", Status.SCHEDULED),
        ("processing", Status.PROCESSING),
        ("succeeded", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("canceled", Status.CANCELED),
        ("aborted", Status.CANCELED),
        ("paused", None),
        ("Succeeded", None),
    ],
)
def test_every_word_has_its_status_and_an_unknown_one_asks_for_a_look(word: str, status: Status | None) -> None:
    found = read(status=word)
    assert (found.observations[0].status, found.observations[0].word) == (status, word)
    assert found.needs_look is (status is None)


def test_a_failure_keeps_what_the_model_said() -> None:
    found = REPLICATE.read(inbound(encoded(FAILED)), account())
    assert found.observations[0].facts["error"] == {"message": "NSFW content detected in all outputs."}
    assert found.blobs == ()
    assert read(status="canceled", output=None).observations[0].facts["error"] == {"code": "canceled"}


def test_neither_our_token_nor_the_logs_become_facts() -> None:
    facts = read().observations[0].facts
    assert "hook-secret" not in str(facts)
    assert not {"logs", "output", "webhook", "urls"} & facts.keys()


@pytest.mark.parametrize(
    ("logs", "progress"),
    [
        (" 40%|████      | 20/50", 0.4),
        ("  5%|x\n 35%|x\nsaved 100% of it", 0.35),
        ("250%|x", 1.0),
        ("40 %", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_progress_is_read_from_the_logs(logs: Any, progress: float | None) -> None:
    assert read(logs=logs).observations[0].progress == progress


def test_urls_anywhere_in_an_output_are_files() -> None:
    output = {
        "video": f"{OUTPUT}.mp4",
        "frames": [{"image": f"{OUTPUT}1.png"}, f"{OUTPUT}2.png", "no url", f"see {OUTPUT}", 5, None],
        "a/b": f"{OUTPUT}3.bin",
    }
    found = {blob.id: (blob.slot, blob.type, blob.url) for blob in read(output=output).blobs}
    assert found == {
        f"{ID}~video": ("video", "video", f"{OUTPUT}.mp4"),
        f"{ID}~frames.0.image": ("frames.0.image", "image", f"{OUTPUT}1.png"),
        f"{ID}~frames.1": ("frames.1", "image", f"{OUTPUT}2.png"),
        f"{ID}~file-3": ("file-3", None, f"{OUTPUT}3.bin"),
    }
    assert [blob.id for blob in read(output=OUTPUT).blobs] == [f"{ID}~output"]
    assert read(output=["a", " fox", " https://x.example"]).blobs == ()


def test_an_output_without_end_is_cut() -> None:
    assert len(read(output=[OUTPUT] * 5000).blobs) == 1000
    nested: Any = OUTPUT
    for _ in range(40):
        nested = {"k" * 300: nested}
    assert read(output=nested).blobs == ()


def test_files_of_the_api_live_an_hour_and_those_of_the_website_longer() -> None:
    assert read().blobs[0].media_expires_at == ENDED + timedelta(hours=1)
    assert read(source="web").blobs[0].media_expires_at is None
    assert read(status="processing", completed_at=None).blobs[0].media_expires_at is None


def test_removed_data_is_told_and_takes_no_file_away() -> None:
    """The look is not complete, so that files an earlier delivery named stay on record with their clocks."""
    found = REPLICATE.read_status(ID, response(200, encoded(REMOVED)), account())
    assert found.observations[0].status is Status.SUCCEEDED
    assert found.observations[0].facts["data_removed"] is True
    assert (found.blobs, found.complete, found.snapshot) == ((), False, True)


def test_a_signed_delivery_is_believed_and_named_by_its_webhook_id() -> None:
    delivery = signed(encoded(PREDICTION), SECRET, NOW)
    REPLICATE.verify(delivery, account())
    assert REPLICATE.read(delivery, account()).identity == "msg_1"
    for wrong in (
        replace(delivery, body=delivery.body + b" "),
        replace(delivery, received_at=NOW + timedelta(seconds=301)),
        replace(delivery, received_at=NOW - timedelta(seconds=301)),
        replace(delivery, headers={}),
        signed(encoded(PREDICTION), "whsec_NzY1NDMyMTBmZWRjYmE5ODc2NTQzMjEw", NOW),
    ):
        with pytest.raises(BadSignature):
            REPLICATE.verify(wrong, account())
    REPLICATE.verify(replace(delivery, received_at=NOW + timedelta(minutes=9)), account(tolerance=timedelta(minutes=9)))


def test_a_token_beside_the_signature_is_required_too() -> None:
    both = account(hook_tokens=("hook-token",))
    REPLICATE.verify(signed(encoded(PREDICTION), SECRET, NOW, query={"token": "hook-token"}), both)
    with pytest.raises(BadSignature):
        REPLICATE.verify(signed(encoded(PREDICTION), SECRET, NOW), both)


def test_a_submission_is_tracked_from_its_answer_or_its_request() -> None:
    found = REPLICATE.track(STARTING, REQUEST)
    assert found.workflow_id == ID
    assert found.observations[0].facts["request"] == {"version": REQUEST["version"], "input": REQUEST["input"]}
    assert found.observations[0].facts["model"] == PREDICTION["model"]
    alone = REPLICATE.track(None, REQUEST)
    assert alone.workflow_id == ""
    assert "hook-secret" not in str(alone)
    with pytest.raises(Unreadable):
        REPLICATE.track(None, None)


def test_a_look_asks_for_one_prediction() -> None:
    asked = REPLICATE.status_request("a b", account(), {})
    assert (asked.method, asked.url) == ("GET", f"{API}/predictions/a%20b")
    assert asked.headers["authorization"] == "Bearer api-secret"


def test_an_answer_about_another_prediction_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        REPLICATE.read_status("other", response(200, encoded(PREDICTION)), account())
    with pytest.raises(UpstreamGone):
        REPLICATE.read_status(ID, response(404, b'{"detail":"Not found"}'), account())
    with pytest.raises(CredentialsRefused):
        REPLICATE.read_status(ID, response(401, b'{"detail":"Unauthenticated"}'), account())


def test_a_listing_follows_the_cursor_on_our_own_address_until_the_window_begins() -> None:
    asked = REPLICATE.list(MADE - timedelta(hours=1), MADE + timedelta(hours=1), account())
    assert asked is not None
    body = {"previous": None, "next": "https://evil.example/v9/predictions?cursor=c%3D1", "results": [PREDICTION]}
    page = REPLICATE.read_list(response(200, encoded(body)), account(), asked)
    assert page.next is not None
    assert urlsplit(page.next.url)[:3] == urlsplit(f"{API}/predictions")[:3]
    assert parse_qs(urlsplit(page.next.url).query) == {"cursor": ["c=1"]}
    assert [reading.workflow_id for reading in page.readings] == [ID]
    older = {**PREDICTION, "id": "older", "created_at": "2026-07-01T00:00:00Z"}
    newer = {**PREDICTION, "id": "newer", "created_at": "2026-08-01T12:00:00Z"}
    last = REPLICATE.read_list(response(200, encoded({**body, "results": [newer, older]})), account(), page.next)
    assert (last.next, last.readings, last.skipped) == (None, (), 0)


def test_a_listing_without_outputs_takes_no_file_away() -> None:
    asked = REPLICATE.list(MADE - timedelta(hours=1), MADE + timedelta(hours=1), account())
    assert asked is not None
    item = {key: value for key, value in PREDICTION.items() if key not in ("output", "logs", "input")}
    page = REPLICATE.read_list(response(200, encoded({"results": [item, 5]})), account(), asked)
    assert (page.readings[0].complete, page.skipped, page.next) == (False, 1, None)


@pytest.mark.parametrize(
    ("http", "message", "disposition"),
    [
        (402, None, Disposition.FIX_ACCOUNT),
        (422, None, Disposition.FIX_REQUEST),
        (429, None, Disposition.RETRY_LATER),
        (503, None, Disposition.RETRY_LATER),
        (None, "NSFW content detected in all outputs.", Disposition.FIX_REQUEST),
        (None, "CUDA out of memory. Tried to allocate", Disposition.FIX_REQUEST),
        (None, "Prediction interrupted; please retry (code: PA)", Disposition.RETRY),
        (None, "list index out of range", Disposition.RETRY_ONCE),
        (None, None, Disposition.RETRY_ONCE),
    ],
)
def test_errors_have_their_advice(http: int | None, message: str | None, disposition: Disposition) -> None:
    advice = REPLICATE.errors.advise(http, None, message)
    assert (advice.disposition, advice.known) == (disposition, True)


def test_an_error_at_submit_time_is_read() -> None:
    body = {"title": "Input validation failed", "detail": "- input: prompt is required\n", "status": 422}
    fault = REPLICATE.read_error(422, encoded(body))
    assert fault.message == "Input validation failed: - input: prompt is required\n"
    assert REPLICATE.errors.advise(422, fault.code, fault.message).disposition is Disposition.FIX_REQUEST


def test_all_kinds_of_trust_are_offered() -> None:
    assert set(REPLICATE.habits.trusts) == set(Trust)
