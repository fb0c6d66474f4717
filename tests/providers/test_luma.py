"""Luma: the Generation in the ledger's exact words, and pages of generations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from civitai_samples import encoded, inbound, response
from luma_samples import API, COMPLETED, DREAMING, FAILED, ID, QUEUED, VIDEO, account

from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import BadSignature, Unreadable

LUMA = provider_named("luma")
MADE = datetime(2026, 8, 1, 10, 0, 0, 123000, tzinfo=UTC)
THUMB = COMPLETED["assets"]["image"]
FACTS = {
    "model": "ray-2",
    "generation_type": "video",
    "request": {"generation_type": "video", "model": "ray-2", "prompt": "a fox"},
}
BLOBS = (
    BlobSeen(f"{ID}~video", "video", slot="video", available=True, url=VIDEO),
    BlobSeen(f"{ID}~image", "image", slot="image", available=True, url=THUMB),
)


def said(word: str, status: Status | None, **facts: Any) -> Observation:
    return Observation(Level.WORKFLOW, status=status, word=word, submitted_at=MADE, facts={**FACTS, **facts})


def read(document: dict[str, Any], **fields: Any) -> Reading:
    return LUMA.read(inbound(encoded({**document, **fields})), account())


def test_the_generation_becomes_exactly_this() -> None:
    done = said("completed", Status.SUCCEEDED)
    assert read(COMPLETED) == Reading(ID, (done,), BLOBS)
    looked = LUMA.read_status(ID, response(200, encoded(COMPLETED)), account())
    assert looked == Reading(ID, (done,), BLOBS, snapshot=True, complete=True)
    assert read(DREAMING) == Reading(ID, (said("dreaming", Status.PROCESSING),))
    assert read(QUEUED) == Reading(ID, (said("queued", Status.SCHEDULED),))
    error = {"message": "400: Input blocked by moderation"}
    assert read(FAILED) == Reading(ID, (said("failed", Status.FAILED, error=error),))


def test_an_unknown_word_and_a_success_without_its_file_ask_for_a_look() -> None:
    assert read(COMPLETED, state="paused").needs_look
    assert read(COMPLETED, assets=None).needs_look
    assert not read(COMPLETED).needs_look


def test_our_token_is_kept_nowhere() -> None:
    assert "hook-secret" not in str(read(COMPLETED))
    assert "hook-secret" not in str(LUMA.track(QUEUED, COMPLETED["request"]))


def test_a_submission_is_tracked() -> None:
    found = LUMA.track(QUEUED, {"model": "ray-2", "prompt": "a fox", "callback_url": "https://us.example"})
    assert (found.workflow_id, found.observations[0].status) == (ID, Status.SCHEDULED)
    assert found.observations[0].facts["request"] == {"model": "ray-2", "prompt": "a fox"}


def test_a_look_asks_for_one_generation() -> None:
    asked = LUMA.status_request(ID, account(), {})
    assert (asked.method, asked.url) == ("GET", f"{API}/generations/{ID}")
    assert asked.headers["authorization"] == "Bearer api-secret"
    with pytest.raises(Unreadable):
        LUMA.read_status("another", response(200, encoded(COMPLETED)), account())


def test_a_listing_goes_on_by_offset_until_the_window_begins() -> None:
    asked = LUMA.list(MADE - timedelta(hours=1), MADE + timedelta(hours=1), account())
    assert asked is not None
    body = {"generations": [COMPLETED, 5], "count": 2, "has_more": True, "limit": 100, "offset": 0}
    page = LUMA.read_list(response(200, encoded(body)), account(), asked)
    assert ([each.workflow_id for each in page.readings], page.skipped) == ([ID], 1)
    assert page.next is not None
    assert parse_qs(urlsplit(page.next.url).query) == {"limit": ["100"], "offset": ["2"]}
    older = {**COMPLETED, "id": "older", "created_at": "2026-07-01T00:00:00Z"}
    last = LUMA.read_list(response(200, encoded({**body, "generations": [older]})), account(), page.next)
    assert (last.next, last.readings) == (None, ())
    over = LUMA.read_list(response(200, encoded({**body, "has_more": False})), account(), asked)
    assert over.next is None


def test_only_the_token_is_a_proof() -> None:
    assert set(LUMA.habits.trusts) == {Trust.TOKEN, Trust.HINT, Trust.NONE}
    with pytest.raises(BadSignature):
        LUMA.verify(inbound(encoded(COMPLETED), {"token": "guess"}), account())
    assert [probe.request.url for probe in LUMA.probes(account())] == [f"{API}/credits"]
