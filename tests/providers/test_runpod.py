"""RunPod: the documented status in the ledger's exact words, records that live half an hour, ids that run again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from civitai_samples import NOW, encoded, inbound, response
from runpod_samples import API, COMPLETED, FAILED, ID, PICTURE, REQUEST, SUBMITTED, TIMED_OUT, account

from receiver.ledger.merge import merge, new_state
from receiver.ledger.nodes import Evidence
from receiver.ledger.records import BlobSeen, EvidenceKind, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import BadSignature, Particular, Unreadable, UpstreamGone, UpstreamRefused

RUNPOD = provider_named("runpod")
ENDS = NOW + timedelta(minutes=30)
USAGE = {"delayTime": 31618, "executionTime": 1437}
FILE = BlobSeen(f"{ID}~image_url", "image", slot="image_url", available=True, url=PICTURE, record_expires_at=ENDS)


def read(document: dict[str, Any], **fields: Any) -> Reading:
    return RUNPOD.read(inbound(encoded({**document, **fields})), account())


def looked(document: dict[str, Any], **fields: Any) -> Reading:
    return RUNPOD.read_status(ID, response(200, encoded({**document, **fields})), account())


def said(word: str, status: Status | None, **facts: Any) -> Observation:
    return Observation(Level.WORKFLOW, status=status, word=word, facts=facts)


def test_the_documented_status_becomes_exactly_this() -> None:
    done = said("COMPLETED", Status.SUCCEEDED, usage=USAGE)
    assert read(COMPLETED) == Reading(ID, (done,), (FILE,))
    found = replace(FILE, record_expires_at=None)
    assert looked(COMPLETED) == Reading(ID, (done,), (found,), snapshot=True, complete=True)


def test_endings_without_an_output_become_exactly_these() -> None:
    usage = {"delayTime": 100, "executionTime": 12}
    assert read(FAILED) == Reading(ID, (said("FAILED", Status.FAILED, usage=usage, error={"message": "CUDA error"}),))
    request = {"input": {"prompt": "a fox"}}
    assert read(TIMED_OUT) == Reading(
        ID, (said("TIMED_OUT", Status.EXPIRED, request=request, error={"code": "TIMED_OUT"}),)
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("IN_QUEUE", Status.SCHEDULED),
        ("IN_PROGRESS", Status.PROCESSING),
        ("RUNNING", Status.PROCESSING),
        ("COMPLETED", Status.SUCCEEDED),
        ("FAILED", Status.FAILED),
        ("CANCELLED", Status.CANCELED),
        ("TIMED_OUT", Status.EXPIRED),
        ("PAUSED", None),
        ("completed", None),
    ],
)
def test_every_word_has_its_status_and_an_unknown_one_asks_for_a_look(word: str, status: Status | None) -> None:
    found = read(COMPLETED, status=word)
    assert (found.observations[0].status, found.observations[0].word) == (status, word)
    assert found.needs_look is (status is None)


def test_an_error_in_the_words_of_runpods_own_worker_is_taken_apart() -> None:
    told = '{"error_type": "<class \'ValueError\'>", "error_message": "no prompt", "error_traceback": "..."}'
    error = {"code": "<class 'ValueError'>", "message": "no prompt"}
    assert read(FAILED, error=told).observations[0].facts["error"] == error
    assert read(FAILED, error='{"x').observations[0].facts["error"] == {"message": '{"x'}


def test_an_output_that_is_in_the_record_itself_goes_with_it() -> None:
    (blob,) = read(COMPLETED, output={"image": "aGVsbG8="}).blobs
    assert (blob.id, blob.url, blob.available, blob.record_expires_at) == (f"{ID}~output", None, True, ENDS)
    assert read(COMPLETED, output=None).blobs == ()
    assert read(COMPLETED, status="IN_PROGRESS").blobs == ()


def test_a_look_does_not_put_off_the_end_of_a_record() -> None:
    state = new_state("runpod", ID, NOW, "delivery")
    merge(state, read(COMPLETED), Evidence("1", EvidenceKind.DELIVERY, NOW, NOW, "delivery", Trust.TOKEN))
    later = NOW + timedelta(minutes=20)
    merge(state, looked(COMPLETED), Evidence("2", EvidenceKind.FETCH, later, later, "look"))
    assert state.blobs[FILE.id].record_expires_at == ENDS


def test_our_token_is_kept_nowhere() -> None:
    assert "hook-secret" not in str(read(TIMED_OUT))
    assert "hook-secret" not in str(RUNPOD.track(SUBMITTED, REQUEST))


def test_a_look_asks_the_endpoint_that_is_known() -> None:
    url = f"{API}/ep1/status/{ID}"
    asked = RUNPOD.status_request(ID, account(), {})
    assert (asked.method, asked.url, asked.headers["authorization"]) == ("GET", url, "Bearer api-secret")
    assert RUNPOD.status_request(ID, account(), {"endpoint": "ep2"}).url == f"{API}/ep2/status/{ID}"
    assert RUNPOD.status_request(ID, account(), {"endpoint": "a/../b"}).url == url
    with pytest.raises(UpstreamRefused, match=r"options\.endpoint"):
        RUNPOD.status_request(ID, account(options={}), {})
    assert [probe.request.url for probe in RUNPOD.probes(account())] == [f"{API}/ep1/health"]
    assert RUNPOD.probes(account(options={})) == ()


def test_a_submission_is_tracked_with_its_endpoint() -> None:
    found = RUNPOD.track(SUBMITTED, {**REQUEST, "endpoint": "ep2"})
    facts = found.observations[0].facts
    assert (found.workflow_id, found.observations[0].status) == (ID, Status.SCHEDULED)
    assert (facts["locator"], facts["request"]["input"]) == ({"endpoint": "ep2"}, {"prompt": "a fox"})
    assert "locator" not in RUNPOD.track(SUBMITTED, REQUEST).observations[0].facts


def test_a_retried_id_is_a_new_run() -> None:
    assert RUNPOD.habits.restartable
    state = new_state("runpod", ID, NOW, "look")
    for second, document in ((0, FAILED), (60, SUBMITTED), (120, COMPLETED)):
        at = NOW + timedelta(seconds=second)
        evidence = Evidence(str(second), EvidenceKind.FETCH, at, at, "look")
        merge(state, looked(document), evidence, restartable=RUNPOD.habits.restartable)
    assert (state.run, state.node.status) == (2, Status.SUCCEEDED)
    assert "error" not in state.about


def test_answers_that_tell_nothing_raise_by_fault() -> None:
    with pytest.raises(Unreadable):
        looked({**COMPLETED, "id": "another"})
    with pytest.raises(UpstreamGone):
        RUNPOD.read_status(ID, response(404, b'{"error":"job not found"}'), account())


def test_only_the_token_is_a_proof() -> None:
    assert set(RUNPOD.habits.trusts) == {Trust.TOKEN, Trust.HINT, Trust.NONE}
    with pytest.raises(BadSignature):
        RUNPOD.verify(inbound(encoded(COMPLETED)), account())


def test_an_endpoint_that_cannot_be_one_is_named() -> None:
    assert isinstance(RUNPOD, Particular)
    assert RUNPOD.account_problem(account()) is None
    assert "options.endpoint" in (RUNPOD.account_problem(account(options={"endpoint": "https://x/y"})) or "")
