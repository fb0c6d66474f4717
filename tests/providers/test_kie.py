"""Kie.ai: tasks in the ledger's exact words, and a signature that is believed for what it covers and no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from civitai_samples import encoded, inbound, response
from kie_samples import API, FAIL, ID, PICTURE, SECRET, SIGNATURE, STAMP, SUCCESS, VEO, account

from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.advice import Disposition
from receiver.providers.base import (
    BadSignature,
    CredentialsRefused,
    Inbound,
    Particular,
    ProviderError,
    Unreadable,
    UpstreamBusy,
    UpstreamGone,
    UpstreamRefused,
)

KIE = provider_named("kie")
AT = datetime.fromtimestamp(STAMP, UTC)
FILE = BlobSeen(f"{ID}~resultUrls.0", "image", slot="resultUrls.0", available=True, url=PICTURE)
DONE = Observation(
    Level.WORKFLOW,
    status=Status.SUCCEEDED,
    word="success",
    completed_at=AT - timedelta(seconds=1),
    submitted_at=AT - timedelta(seconds=20),
    facts={"model": "grok-imagine/text-to-image", "usage": {"costTime": 15000}},
)


def read(document: dict[str, Any], **data: Any) -> Reading:
    return KIE.read(inbound(encoded({**document, "data": {**document["data"], **data}})), account())


def looked(document: Any) -> Reading:
    return KIE.read_status(ID, response(200, encoded(document)), account())


def test_the_documented_task_becomes_exactly_this() -> None:
    assert read(SUCCESS) == Reading(ID, (DONE,), (FILE,))
    assert looked(SUCCESS) == Reading(ID, (DONE,), (FILE,), snapshot=True, complete=True)
    error = {"code": "500", "message": "Internal error"}
    failed = Observation(Level.WORKFLOW, status=Status.FAILED, word="fail", facts={"error": error})
    assert read(FAIL) == Reading(ID, (failed,))
    assert looked(FAIL).observations == (failed,)


def test_a_task_outside_the_market_is_read_too() -> None:
    found = looked(VEO)
    assert (found.observations[0].status, [blob.url for blob in found.blobs]) == (
        Status.SUCCEEDED,
        ["https://example.com/v.mp4"],
    )
    asked = KIE.status_request(ID, account(options={"path": "veo/record-info"}), {})
    assert asked.url == f"{API}/api/v1/veo/record-info?taskId={ID}"


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("waiting", Status.SCHEDULED),
        ("queuing", Status.SCHEDULED),
        ("generating", Status.PROCESSING),
        ("success", Status.SUCCEEDED),
        ("fail", Status.FAILED),
        ("failed", None),
        (None, None),
    ],
)
def test_only_a_state_is_a_status(word: str | None, status: Status | None) -> None:
    """`code` 200 alone is none: some models deliver several times."""
    found = read(SUCCESS, state=word)
    assert (found.observations[0].status, found.observations[0].word) == (status, word)
    assert found.needs_look is (status is None)


def delivery(body: dict[str, Any], **headers: str) -> Inbound:
    signed = {"x-webhook-timestamp": str(STAMP), "x-webhook-signature": SIGNATURE}
    return Inbound({**signed, **headers}, {}, encoded(body), AT)


def test_the_documented_vector_is_a_hint_and_no_more() -> None:
    hint = account(Trust.HINT, hook_tokens=(), signing_secrets=(SECRET,))
    KIE.verify(delivery(SUCCESS), hint)
    # Another body about the same task has the same signature: that is why it proves so little.
    KIE.verify(delivery(FAIL), hint)
    for wrong in (
        delivery({**SUCCESS, "data": {"taskId": "another"}}),
        replace(delivery(SUCCESS), received_at=AT + timedelta(seconds=301)),
        replace(delivery(SUCCESS), body=b"x"),
        replace(delivery(SUCCESS), headers={}),
    ):
        with pytest.raises(BadSignature):
            KIE.verify(wrong, hint)
    assert Trust.SIGNED not in KIE.habits.trusts
    with pytest.raises(BadSignature):
        KIE.verify(delivery(SUCCESS), replace(hint, trust=Trust.SIGNED))


def test_token_and_signature_are_both_required_where_both_are_configured() -> None:
    both = account(signing_secrets=(SECRET,))
    KIE.verify(replace(delivery(SUCCESS), query={"token": "new-token"}), both)
    with pytest.raises(BadSignature):
        KIE.verify(delivery(SUCCESS), both)
    with pytest.raises(BadSignature):
        KIE.verify(inbound(encoded(SUCCESS), {"token": "new-token"}), both)


def test_our_token_is_kept_nowhere() -> None:
    assert "hook-secret" not in str(read(SUCCESS))
    found = KIE.track(
        {"code": 200, "msg": "success", "data": {"taskId": ID}}, {"model": "x", "callBackUrl": "https://u"}
    )
    assert (found.workflow_id, found.needs_look) == (ID, False)
    assert found.observations[0].facts == {"model": "x", "request": {"model": "x"}}


def test_a_look_asks_for_one_task_whatever_its_id_is() -> None:
    asked = KIE.status_request("a&b=c#d", account(), {"path": "../x"})
    assert asked.url == f"{API}/api/v1/jobs/recordInfo?taskId=a%26b%3Dc%23d"
    assert asked.headers["authorization"] == "Bearer api-secret"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, CredentialsRefused),
        (402, UpstreamRefused),
        (404, UpstreamGone),
        (422, UpstreamRefused),
        (429, UpstreamBusy),
        (455, UpstreamBusy),
        (500, UpstreamBusy),
    ],
)
def test_a_code_inside_a_200_raises_as_that_status_would(code: int, error: type[ProviderError]) -> None:
    with pytest.raises(error):
        looked({**SUCCESS, "code": code})


def test_answers_that_tell_nothing_are_unreadable() -> None:
    for document in ({"code": 200, "msg": "success", "data": None}, {**SUCCESS, "data": {"taskId": "another"}}):
        with pytest.raises(Unreadable):
            looked(document)


def test_options_that_cannot_be_right_are_named() -> None:
    assert isinstance(KIE, Particular)
    assert KIE.account_problem(account(signing_secrets=(SECRET,))) is None
    assert "options.path" in (KIE.account_problem(account(options={"path": "recordInfo"})) or "")


@pytest.mark.parametrize(
    ("http", "code", "expected"),
    [
        (400, "400", Disposition.FIX_REQUEST),
        (401, "401", Disposition.FIX_ACCOUNT),
        (402, "402", Disposition.FIX_ACCOUNT),
        (404, "404", Disposition.FIX_REQUEST),
        (422, "422", Disposition.FIX_REQUEST),
        (429, "429", Disposition.RETRY_LATER),
        (200, "455", Disposition.RETRY_LATER),
        (500, "500", Disposition.RETRY_LATER),
        (None, "501", Disposition.RETRY_ONCE),
        (None, "505", Disposition.FIX_REQUEST),
        *((http, None, Disposition.FIX_REQUEST) for http in (400, 404, 422)),
        *((http, None, Disposition.FIX_ACCOUNT) for http in (401, 402, 403)),
        *((http, None, Disposition.RETRY_LATER) for http in (429, 500, 503)),
        (None, None, Disposition.RETRY_ONCE),
    ],
)
def test_every_error_has_its_advice(http: int | None, code: str | None, expected: Disposition) -> None:
    advice = KIE.errors.advise(http, code)
    assert (advice.disposition, advice.known) == (expected, True)
