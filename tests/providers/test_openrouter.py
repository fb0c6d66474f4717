"""OpenRouter's video generations: the documented event in the ledger's exact words, signed with a comma."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from civitai_samples import NOW, encoded, inbound, response
from openrouter_samples import ANSWER, API, COMPLETED_EVENT, CONTENT, EXPIRED_EVENT, SUBMITTED, account

from receiver.ledger.records import BlobSeen, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.advice import Disposition
from receiver.providers.base import BadSignature, Inbound, Unreadable

OPENROUTER = provider_named("openrouter")
AT = datetime(2026, 8, 1, 10, 2, tzinfo=UTC)
BLOB = BlobSeen("vid_abc~0", "video", slot="0", available=True, url=CONTENT)
USAGE = {"cost": 0.5, "is_byok": False}


def event(kind: str = "video.generation.completed", **data: Any) -> Reading:
    body = {**COMPLETED_EVENT, "type": kind, "data": {**COMPLETED_EVENT["data"], **data}}
    return OPENROUTER.read(inbound(encoded(body)), account())


def test_the_documented_event_becomes_exactly_this() -> None:
    assert OPENROUTER.read(inbound(encoded(COMPLETED_EVENT)), account()) == Reading(
        "vid_abc",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="completed",
                upstream_at=AT,
                facts={"model": "google/veo-3.1", "usage": USAGE, "generation_id": "gen-1"},
            ),
        ),
        (BLOB,),
    )


def test_an_expiry_becomes_exactly_this() -> None:
    assert OPENROUTER.read(inbound(encoded(EXPIRED_EVENT)), account()) == Reading(
        "vid_abc",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.EXPIRED,
                word="expired",
                upstream_at=AT,
                facts={"error": {"code": "expired"}},
            ),
        ),
    )


def test_the_answer_to_a_look_becomes_exactly_this() -> None:
    assert OPENROUTER.read_status("vid_abc", response(200, encoded(ANSWER)), account()) == Reading(
        "vid_abc",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="completed",
                facts={"usage": USAGE, "generation_id": "gen-1"},
            ),
        ),
        (BLOB,),
        snapshot=True,
        complete=True,
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.SCHEDULED),
        ("in_progress", Status.PROCESSING),
        ("completed", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("cancelled", Status.CANCELED),
        ("expired", Status.EXPIRED),
        ("dreaming", None),
    ],
)
def test_every_word_has_its_status_from_the_data_or_else_from_the_type(word: str, status: Status | None) -> None:
    for found in (event(status=word), event(f"video.generation.{word}", status=None)):
        assert (found.observations[0].status, found.observations[0].word) == (status, word)
        assert found.needs_look is (status is None)


def test_an_event_of_another_family_moves_nothing_and_asks_for_a_look() -> None:
    found = event("workspace.renamed", status=None)
    assert (found.observations[0].status, found.needs_look) == (None, True)


def test_a_success_without_files_asks_for_a_look() -> None:
    for urls in (None, [], ["javascript:alert(1)"], "x", [5]):
        found = event(unsigned_urls=urls)
        assert (found.blobs, found.needs_look) == ((), True)


def test_signed_links_come_before_those_that_want_our_key() -> None:
    found = event(urls=["https://storage.example/0.mp4?Expires=1786000000", None], unsigned_urls=[CONTENT, CONTENT])
    assert [(blob.id, blob.url) for blob in found.blobs] == [
        ("vid_abc~0", "https://storage.example/0.mp4?Expires=1786000000"),
        ("vid_abc~1", CONTENT),
    ]
    assert found.blobs[0].url_expires_at == datetime.fromtimestamp(1786000000, UTC)


def delivery(secret: bytes, separator: bytes, body: bytes, at: datetime = NOW) -> Inbound:
    stamp = str(int(at.timestamp())).encode()
    digest = hmac.new(secret, stamp + separator + body, hashlib.sha256).hexdigest()
    headers = {
        "x-openrouter-signature": f"t={stamp.decode()},v1={digest}",
        "x-openrouter-idempotency-key": "idem-1",
    }
    return Inbound(headers, {}, body, NOW)


def test_a_signed_event_is_believed_and_named_by_its_idempotency_key() -> None:
    body = encoded(COMPLETED_EVENT)
    right = delivery(b"secret", b",", body)
    OPENROUTER.verify(right, account())
    assert OPENROUTER.read(right, account()).identity == "idem-1"
    for wrong in (
        delivery(b"secret", b".", body),
        delivery(b"other", b",", body),
        delivery(b"secret", b",", body, NOW - timedelta(seconds=301)),
        delivery(b"secret", b",", body, NOW + timedelta(seconds=301)),
        Inbound(right.headers, {}, body + b" ", NOW),
        Inbound({}, {}, body, NOW),
    ):
        with pytest.raises(BadSignature):
            OPENROUTER.verify(wrong, account())


def test_a_look_asks_for_one_generation_and_nothing_can_be_listed() -> None:
    asked = OPENROUTER.status_request("a?b", account(), {})
    assert (asked.url, asked.headers["authorization"]) == (f"{API}/videos/a%3Fb", "Bearer api-secret")
    assert OPENROUTER.list(AT, AT, account()) is None
    with pytest.raises(Unreadable):
        OPENROUTER.read_status("other", response(200, encoded(ANSWER)), account())


def test_a_submission_is_tracked_without_its_callback() -> None:
    request = {"model": "google/veo-3.1", "prompt": "a fox", "callback_url": "https://h.example/?token=hook-secret"}
    found = OPENROUTER.track(SUBMITTED, request)
    assert found == Reading(
        "vid_abc",
        (
            Observation(
                Level.WORKFLOW,
                status=Status.SCHEDULED,
                word="pending",
                facts={"model": "google/veo-3.1", "request": {"model": "google/veo-3.1", "prompt": "a fox"}},
            ),
        ),
    )


@pytest.mark.parametrize(
    ("http", "body", "disposition"),
    [
        (402, {"error": {"code": 402, "message": "Insufficient credits"}}, Disposition.FIX_ACCOUNT),
        (403, {"error": {"code": 403, "message": "flagged", "metadata": {}}}, Disposition.FIX_REQUEST),
        (429, {"error": {"code": 429, "message": "slow down"}}, Disposition.RETRY_LATER),
        (502, {"error": {"code": 502, "message": "provider down"}}, Disposition.RETRY_LATER),
        (504, {"error": {"code": 504, "message": "timeout"}}, Disposition.RETRY_LATER),
    ],
)
def test_errors_whose_code_repeats_the_status_have_their_advice(
    http: int, body: dict[str, Any], disposition: Disposition
) -> None:
    fault = OPENROUTER.read_error(http, encoded(body))
    advice = OPENROUTER.errors.advise(http, fault.code, fault.message)
    assert (fault.code, advice.disposition, advice.known) == (None, disposition, True)


@pytest.mark.parametrize(
    ("code", "message", "disposition"),
    [
        ("expired", None, Disposition.RETRY),
        ("cancelled", None, Disposition.NEVER),
        (None, "Blocked by content policy", Disposition.FIX_REQUEST),
        (None, "odd", Disposition.RETRY_ONCE),
        (None, None, Disposition.RETRY_ONCE),
    ],
)
def test_endings_have_their_advice(code: str | None, message: str | None, disposition: Disposition) -> None:
    assert OPENROUTER.errors.advise(None, code, message).disposition is disposition
