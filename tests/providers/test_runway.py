"""Runway: tasks in the ledger's exact words; it delivers nothing, so nothing delivered in its name is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from civitai_samples import NOW, encoded, inbound, response
from runway_samples import API, FAILED, ID, PENDING, RUNNING, SUCCEEDED, VIDEO, account

from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import BadSignature, Particular, Unreadable

RUNWAY = provider_named("runway")
MADE = datetime(2026, 8, 1, 10, 0, 0, 123000, tzinfo=UTC)


def looked(document: dict[str, Any], **fields: Any) -> Reading:
    return RUNWAY.read_status(ID, response(200, encoded({**document, **fields})), account())


def said(word: str, status: Status | None, progress: float | None = None, **facts: Any) -> Observation:
    return Observation(Level.WORKFLOW, status=status, word=word, submitted_at=MADE, progress=progress, facts=facts)


def shown(found: Observation, *blobs: BlobSeen) -> Reading:
    return Reading(ID, (found,), blobs, snapshot=True, complete=True)


def test_tasks_become_exactly_these() -> None:
    file = BlobSeen(
        f"{ID}~0",
        "video",
        slot="0",
        available=True,
        url=f"{VIDEO}?_jwt=abc",
        url_expires_at=NOW + timedelta(hours=24),
    )
    assert looked(SUCCEEDED) == shown(said("SUCCEEDED", Status.SUCCEEDED, usage={"credits": 25}), file)
    assert looked(PENDING) == shown(said("PENDING", Status.SCHEDULED))
    assert looked(RUNNING) == shown(said("RUNNING", Status.PROCESSING, 0.4))
    error = {"code": "SAFETY.OUTPUT.VIDEO", "message": "The generation was moderated."}
    assert looked(FAILED) == shown(said("FAILED", Status.FAILED, usage={"credits": 0}, error=error))


@pytest.mark.parametrize(
    ("word", "status"),
    [("THROTTLED", Status.SCHEDULED), ("CANCELLED", Status.CANCELED), ("PAUSED", None), ("succeeded", None)],
)
def test_the_other_words_have_their_statuses(word: str, status: Status | None) -> None:
    (found,) = looked(PENDING, status=word).observations
    assert (found.status, found.word) == (status, word)


def test_a_look_names_the_version_of_the_api() -> None:
    asked = RUNWAY.status_request(ID, account(), {})
    assert (asked.method, asked.url) == ("GET", f"{API}/tasks/{ID}")
    assert (asked.headers["x-runway-version"], asked.headers["authorization"]) == ("2024-11-06", "Bearer api-secret")
    newer = account(options={"version": "2027-01-01"})
    assert RUNWAY.status_request(ID, newer, {}).headers["x-runway-version"] == "2027-01-01"
    assert isinstance(RUNWAY, Particular)
    assert RUNWAY.account_problem(newer) is None
    for wrong in ("", 5, "a\nb"):
        assert "options.version" in (RUNWAY.account_problem(account(options={"version": wrong})) or "")


def test_a_submission_is_tracked_by_its_id_alone() -> None:
    found = RUNWAY.track({"id": ID}, {"model": "gen4_turbo", "promptText": "a fox"})
    assert found.workflow_id == ID
    request = {"model": "gen4_turbo", "promptText": "a fox"}
    assert found.observations == (Observation(Level.WORKFLOW, facts={"model": "gen4_turbo", "request": request}),)


def test_nothing_delivered_is_believed_or_read() -> None:
    assert RUNWAY.habits.trusts == (Trust.NONE,)
    for trust in Trust:
        with pytest.raises(BadSignature):
            RUNWAY.verify(inbound(encoded(SUCCEEDED), {"token": "x"}), account(trust, hook_tokens=("x",)))
    with pytest.raises(Unreadable):
        RUNWAY.read(inbound(encoded(SUCCEEDED)), account())
    with pytest.raises(Unreadable):
        RUNWAY.read_status("another", response(200, encoded(SUCCEEDED)), account())
    assert [probe.request.url for probe in RUNWAY.probes(account())] == [f"{API}/organization"]
