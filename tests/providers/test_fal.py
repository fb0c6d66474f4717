"""fal: a completed request that failed is never taken for a success, and only fal's own signature is believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from civitai_samples import NOW, encoded, inbound, response
from fal_samples import (
    API,
    COMPLETED,
    DETAIL,
    ERROR_EVENT,
    ID,
    IN_PROGRESS,
    JWKS,
    LINK,
    LINKS,
    OK_EVENT,
    OUTPUT,
    PICTURE,
    SUBMITTED,
    UNWRITTEN_EVENT,
    VECTOR,
    VECTOR_HEADERS,
    account,
)

from receiver.ledger.merge import merge, new_state
from receiver.ledger.nodes import Evidence
from receiver.ledger.records import BlobSeen, EvidenceKind, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import (
    BadSignature,
    CredentialsRefused,
    Inbound,
    KeysUnavailable,
    Particular,
    ProviderError,
    Unreadable,
    UpstreamBusy,
    UpstreamGone,
    UpstreamRefused,
)

FAL = provider_named("fal")
SIGNED_AT = datetime(2025, 9, 16, 5, 20, tzinfo=UTC)
FLUX = {"app": "fal-ai/flux"}
FILE = BlobSeen(
    id=f"{ID}~images.0",
    type="image",
    slot="images.0",
    available=True,
    url=PICTURE,
    facts={"content_type": "image/jpeg", "width": 1024, "height": 768},
)


def event(document: JsonObject) -> Reading:
    return FAL.read(inbound(encoded(document)), account())


def looked(document: Any, status: int = 200) -> Reading:
    return FAL.read_status(ID, response(status, encoded(document)), account())


def said(word: str | None, status: Status | None, **facts: Any) -> Observation:
    return Observation(Level.WORKFLOW, status=status, word=word, facts=facts)


def test_a_success_becomes_exactly_this() -> None:
    assert event(OK_EVENT) == Reading(ID, (said("OK", Status.SUCCEEDED, gateway_request_id="gw-2"),), (FILE,))


def test_a_failure_becomes_exactly_this() -> None:
    error = {"code": "value_error.missing", "message": "field required"}
    assert event(ERROR_EVENT) == Reading(ID, (said("ERROR", Status.FAILED, gateway_request_id=ID, error=error),))


def test_a_failure_without_detail_says_what_it_can() -> None:
    (found,) = event({**ERROR_EVENT, "payload": None, "payload_error": "not serializable"}).observations
    assert found.facts["error"] == {"message": "Invalid status code: 422"}
    payload = {"detail": "Request timed out", "error_type": "request_timeout"}
    (found,) = event({**ERROR_EVENT, "payload": payload}).observations
    assert found.facts["error"] == {"code": "request_timeout", "message": "Request timed out"}


def test_an_output_that_could_not_be_written_asks_for_a_look() -> None:
    found = event(UNWRITTEN_EVENT)
    assert (found.observations[0].status, found.blobs, found.needs_look) == (Status.SUCCEEDED, (), True)
    assert not event(OK_EVENT).needs_look


def test_an_unknown_word_asks_for_a_look() -> None:
    found = event({**OK_EVENT, "status": "PARTIAL"})
    assert (found.observations[0], found.blobs, found.needs_look) == (
        said("PARTIAL", None, gateway_request_id="gw-2"),
        (),
        True,
    )


def test_the_documented_vector_is_believed_and_named_by_its_request() -> None:
    keys = FAL.read_keys(replace(response(200, encoded(JWKS)), received_at=SIGNED_AT))
    delivery = Inbound(VECTOR_HEADERS, {}, VECTOR, SIGNED_AT)
    FAL.verify(delivery, account(), keys)
    assert FAL.read(delivery, account()) == Reading(
        ID, (said("OK", Status.SUCCEEDED, gateway_request_id=ID),), identity=ID
    )
    for wrong in (
        replace(delivery, body=VECTOR + b" "),
        replace(delivery, received_at=SIGNED_AT + timedelta(seconds=301)),
        replace(delivery, headers={}),
    ):
        with pytest.raises(BadSignature):
            FAL.verify(wrong, account(), keys)
    with pytest.raises(KeysUnavailable):
        FAL.verify(delivery, account(), None)


def test_another_customers_delivery_is_not_believed_where_ours_is_named() -> None:
    """fal signs for everybody; the header that says for whom is signed too."""
    keys = FAL.read_keys(replace(response(200, encoded(JWKS)), received_at=SIGNED_AT))
    delivery = Inbound(VECTOR_HEADERS, {}, VECTOR, SIGNED_AT)
    FAL.verify(delivery, account(options={"user_id": "user_1"}), keys)
    with pytest.raises(BadSignature, match=r"options\.user_id"):
        FAL.verify(delivery, account(options={"user_id": "user_2"}), keys)


def test_a_token_beside_the_signature_is_required_too() -> None:
    keys = FAL.read_keys(replace(response(200, encoded(JWKS)), received_at=SIGNED_AT))
    both = account(hook_tokens=("hook-token",))
    FAL.verify(Inbound(VECTOR_HEADERS, {"token": "hook-token"}, VECTOR, SIGNED_AT), both, keys)
    with pytest.raises(BadSignature):
        FAL.verify(Inbound(VECTOR_HEADERS, {}, VECTOR, SIGNED_AT), both, keys)


def test_the_keys_are_asked_for_without_ours() -> None:
    asked = FAL.keys_request(account())
    assert asked is not None
    assert (asked.url, "api-secret" in str(asked.headers)) == ("https://rest.fal.ai/.well-known/jwks.json", False)
    elsewhere = FAL.keys_request(account(options={"jwks_url": "http://127.0.0.1:9/keys"}))
    assert elsewhere is not None
    assert elsewhere.url == "http://127.0.0.1:9/keys"
    for status, body, error in ((200, b"{}", Unreadable), (503, b"", UpstreamBusy), (404, b"", UpstreamGone)):
        with pytest.raises(error):
            FAL.read_keys(response(status, body))


def test_a_submission_tells_where_to_ask() -> None:
    found = FAL.track(SUBMITTED, {"prompt": "a cat", "fal_webhook": "https://us.example/?token=hook-secret"})
    assert found == Reading(
        ID,
        (said("IN_QUEUE", Status.SCHEDULED, gateway_request_id=ID, locator=FLUX, request={"prompt": "a cat"}),),
    )
    alone = FAL.track(None, {"model": "fal-ai/wan/v2.2", "prompt": "x"}).observations[0].facts
    assert (alone["locator"], alone["model"]) == ({"app": "fal-ai/wan"}, "fal-ai/wan/v2.2")


@pytest.mark.parametrize(
    ("locator", "url"),
    [
        (FLUX, f"{LINK}/status"),
        ({**FLUX, "ask": "result"}, LINK),
        ({**FLUX, "ask": "response"}, f"{LINK}/response"),
        ({**FLUX, "ask": "/../../x"}, f"{LINK}/status"),
        ({**FLUX, "ask": ["result"]}, f"{LINK}/status"),
        ({"app": "workflows/me/mine"}, f"{API}/workflows/me/mine/requests/{ID}/status"),
        ({"model": "workflows/me/mine/fast"}, f"{API}/workflows/me/mine/requests/{ID}/status"),
        ({"model": "/fal-ai/flux-pro/v1.1/ultra"}, f"{API}/fal-ai/flux-pro/requests/{ID}/status"),
        ({"app": "../../etc"}, f"{LINK}/status"),
        ({"app": "a/b?c=d"}, f"{LINK}/status"),
        ({"app": 5}, f"{LINK}/status"),
        ({}, f"{LINK}/status"),
    ],
)
def test_a_look_asks_for_the_status_and_then_for_the_result(locator: JsonObject, url: str) -> None:
    asked = FAL.status_request(ID, account(), locator)
    assert (asked.method, asked.url, asked.headers["authorization"]) == ("GET", url, "Key api-secret")


def test_without_a_model_nothing_is_asked() -> None:
    with pytest.raises(UpstreamRefused, match=r"options\.model"):
        FAL.status_request(ID, account(options={}), {})


def test_a_running_request_becomes_exactly_this() -> None:
    assert looked(IN_PROGRESS, 202) == Reading(
        ID, (said("IN_PROGRESS", Status.PROCESSING, locator=FLUX),), snapshot=True
    )
    queued = looked({"status": "IN_QUEUE", "queue_position": 0, "response_url": LINK}, 202)
    assert queued.observations == (said("IN_QUEUE", Status.SCHEDULED, locator=FLUX),)


def test_completed_is_no_ending_and_sends_the_next_look_to_the_result() -> None:
    usage = COMPLETED["metrics"]
    assert looked(COMPLETED) == Reading(
        ID,
        (said("COMPLETED", None, usage=usage, locator={**FLUX, "ask": "result"}),),
        snapshot=True,
        needs_look=True,
    )
    newest = looked({**COMPLETED, "response_url": f"{LINK}/response"}).observations[0].facts["locator"]
    assert newest == {**FLUX, "ask": "response"}
    bare = looked({"status": "COMPLETED", "logs": []}).observations[0].facts["locator"]
    assert bare == {"ask": "result"}


def test_completed_with_an_error_has_failed() -> None:
    document = {**COMPLETED, "error": "Request timed out", "error_type": "request_timeout"}
    (found,) = looked(document).observations
    assert found.status is Status.FAILED
    assert found.facts["error"] == {"code": "request_timeout", "message": "Request timed out"}
    assert not looked(document).needs_look


def test_a_result_is_a_success_with_its_files() -> None:
    assert looked(OUTPUT) == Reading(ID, (said("COMPLETED", Status.SUCCEEDED),), (FILE,), snapshot=True, complete=True)


def test_files_are_found_wherever_they_are() -> None:
    output = {
        "video": {"url": f"{PICTURE}.mp4", "content_type": "application/octet-stream", "file_size": 5},
        "parts": [{"audio": {"url": f"{PICTURE}.wav", "file_name": "a.wav"}}, "no url", None],
        "link": f"{PICTURE}.png",
        "odd": {"url": "data:image/png;base64,AAAA", "content_type": "image/png"},
    }
    assert {blob.slot: (blob.type, blob.url) for blob in looked(output).blobs} == {
        "video": ("video", f"{PICTURE}.mp4"),
        "parts.0.audio": ("audio", f"{PICTURE}.wav"),
        "link": ("image", f"{PICTURE}.png"),
    }


def test_an_output_may_have_a_status_of_its_own() -> None:
    output = {"status": "COMPLETED", "video": {"url": f"{PICTURE}.mp4", "content_type": "video/mp4"}}
    assert looked(output).observations == (said("COMPLETED", Status.SUCCEEDED),)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (422, {"detail": DETAIL}, "value_error.missing"),
        (422, {"detail": [{"loc": ["body"], "msg": "refused", "type": "content_policy_violation"}]}, None),
        (500, {"detail": [{"loc": ["body"], "msg": "oops", "type": "internal_server_error"}]}, "internal_server_error"),
        (504, {"detail": "Request timed out", "error_type": "request_timeout"}, "request_timeout"),
        (503, {"detail": "Runner disconnected", "error_type": "runner_disconnected"}, "runner_disconnected"),
        (499, {"detail": "Cancelled", "error_type": "client_cancelled"}, "client_cancelled"),
        (422, {"detail": "Could not generate"}, None),
    ],
)
def test_a_failed_requests_result_is_its_failure(status: int, body: JsonObject, code: str | None) -> None:
    found = looked(body, status)
    assert (found.observations[0].status, found.snapshot, found.complete) == (Status.FAILED, True, True)
    assert code is None or found.observations[0].facts["error"]["code"] == code


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, {"detail": "Internal Server Error", "error_type": "internal_error"}, UpstreamBusy),
        (500, {"detail": "Internal Server Error"}, UpstreamBusy),
        (502, "bad gateway", UpstreamBusy),
        (429, {"detail": [{"loc": ["body"], "msg": "slow down", "type": "x"}]}, UpstreamBusy),
        (401, {"detail": "Authentication is required to access this application."}, CredentialsRefused),
        (401, {"detail": [{"loc": ["body"], "msg": "no key", "type": "x"}]}, CredentialsRefused),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, UpstreamRefused),
        (404, {"detail": "Request not found"}, UpstreamGone),
        (400, {"detail": "Bad request"}, UpstreamRefused),
        (422, {"detail": [{"loc": ["path", "request_id"], "msg": "no UUID", "type": "uuid_parsing"}]}, UpstreamRefused),
        (200, {"detail": "Something"}, Unreadable),
        (200, {**COMPLETED, "request_id": "another"}, Unreadable),
    ],
)
def test_trouble_with_asking_fails_no_request(status: int, body: Any, error: type[ProviderError]) -> None:
    with pytest.raises(error):
        looked(body, status)


@pytest.mark.parametrize(
    ("status", "body"), [(400, {"detail": "Request is still in progress"}), (202, {"detail": "not yet"})]
)
def test_a_result_that_is_not_there_yet_ends_nothing(status: int, body: JsonObject) -> None:
    assert looked(body, status) == Reading(ID, (Observation(Level.WORKFLOW),), snapshot=True)


@pytest.mark.parametrize("told", [False, True])
def test_two_looks_settle_a_request_whose_model_a_person_or_the_answer_told(told: bool) -> None:
    """The ledger keeps the stage beside the app, whoever told the app."""
    state = new_state("fal", ID, NOW, "track")
    state.tell("locator", {"model": "fal-ai/flux/dev"} if told else FLUX)
    if told:
        state.node.stamps["told"] = ["locator"]
    answers = iter((IN_PROGRESS, {"status": "COMPLETED", "logs": None}, OUTPUT))
    urls = []
    for number in range(3):
        asked = FAL.status_request(
            ID, account(options={"model": "other/model"}), state.about.get("locator") or {**FLUX}
        )
        urls.append(asked.url)
        at = NOW + timedelta(seconds=30 * number)
        merge(state, looked(next(answers)), Evidence(str(number), EvidenceKind.FETCH, at, at, "look"))
    assert urls == [f"{LINK}/status", f"{LINK}/status", LINK]
    assert (state.node.status, state.node.confirmed_at is not None) == (Status.SUCCEEDED, True)


def test_a_confirmed_success_is_not_disputed_by_the_status() -> None:
    state = new_state("fal", ID, NOW, "delivery")
    merge(state, event(OK_EVENT), Evidence("1", EvidenceKind.DELIVERY, NOW, NOW, "delivery", Trust.SIGNED))
    later = NOW + timedelta(minutes=1)
    done = merge(state, looked(COMPLETED), Evidence("2", EvidenceKind.FETCH, later, later, "look"))
    assert (state.node.status, done.transitions, state.blobs[f"{ID}~images.0"].available) == (
        Status.SUCCEEDED,
        [],
        True,
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"options": {"model": "flux"}}, "options.model"),
        ({"options": {"model": ["fal-ai/flux"]}}, "options.model"),
        ({"options": {"user_id": 5}}, "options.user_id"),
        ({"options": {"jwks_url": "ftp://x"}}, "options.jwks_url"),
        ({"signing_secrets": ("whsec_x",)}, "signing_secrets"),
    ],
)
def test_options_that_cannot_be_right_are_named(fields: JsonObject, named: str) -> None:
    assert isinstance(FAL, Particular)
    assert named in (FAL.account_problem(account(**fields)) or "")
    assert FAL.account_problem(account()) is None


def test_links_elsewhere_give_a_path_at_most() -> None:
    links = {name: link.replace(API, "https://evil.example") for name, link in LINKS.items()}
    facts = looked({**IN_PROGRESS, **links}).observations[0].facts
    assert FAL.status_request(ID, account(), facts["locator"]).url == f"{LINK}/status"
