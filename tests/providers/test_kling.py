"""Kling: tasks in the ledger's exact words, codes that tell a fault inside a 200, tokens that anybody can check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from civitai_samples import NOW, encoded, inbound, response
from kling_samples import ANSWER, API, FAILED, ID, IMAGE, IMAGES, SUBMITTED, SUCCEED, VIDEO, account

from receiver.ledger.records import BlobSeen, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import (
    BadSignature,
    CredentialsRefused,
    Particular,
    ProviderError,
    Unreadable,
    UpstreamBusy,
    UpstreamGone,
    UpstreamRefused,
)
from receiver.providers.kling import Kling

KLING = provider_named("kling")
MADE = datetime(2026, 8, 1, 10, 0, 0, 123000, tzinfo=UTC)
ENDED = datetime(2026, 8, 1, 10, 2, 0, 456000, tzinfo=UTC)
CLEARED = ENDED + timedelta(days=30)
FILE = BlobSeen(f"{ID}~videos.0", "video", slot="videos.0", available=True, url=VIDEO, media_expires_at=CLEARED)
DONE = Observation(
    Level.WORKFLOW,
    status=Status.SUCCEEDED,
    word="succeed",
    upstream_at=ENDED,
    completed_at=ENDED,
    submitted_at=MADE,
    facts={"external_id": "order-17", "usage": {"final_unit_deduction": "2"}},
)


def read(document: dict[str, Any], **fields: Any) -> Reading:
    return KLING.read(inbound(encoded({**document, **fields})), account())


def looked(document: Any, status: int = 200) -> Reading:
    return KLING.read_status(ID, response(status, encoded(document)), account())


def test_the_documented_task_becomes_exactly_this() -> None:
    assert read(SUCCEED) == Reading(ID, (DONE,), (FILE,))
    assert looked(ANSWER) == Reading(ID, (DONE,), (FILE,), snapshot=True, complete=True)
    assert read(ANSWER) == Reading(ID, (DONE,), (FILE,))


def test_a_failure_becomes_exactly_this() -> None:
    facts = {"error": {"message": "Failure to pass the risk control system"}}
    assert read(FAILED) == Reading(ID, (replace(DONE, status=Status.FAILED, word="failed", facts=facts),))


def test_images_are_files_by_their_index() -> None:
    assert [(blob.id, blob.type, blob.url) for blob in read(IMAGES).blobs] == [
        (f"{ID}~images.0", None, IMAGE),
        (f"{ID}~images.1", "image", f"{IMAGE}.png"),
    ]


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", Status.SCHEDULED),
        ("processing", Status.PROCESSING),
        ("succeed", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("succeeded", None),
        ("Succeed", None),
    ],
)
def test_every_word_has_its_status_and_an_unknown_one_asks_for_a_look(word: str, status: Status | None) -> None:
    found = read(SUCCEED, task_status=word)
    assert (found.observations[0].status, found.observations[0].word) == (status, word)
    assert found.needs_look is (status is None)
    assert (found.observations[0].completed_at is None) is (status not in (Status.SUCCEEDED, Status.FAILED))


def test_a_success_without_its_files_asks_for_a_look() -> None:
    assert read(SUCCEED, task_result=None).needs_look


def test_a_token_proves_the_account_for_half_an_hour() -> None:
    """Checked with nothing but the standard library: HS256 with the secret key, RFC 7519."""
    kling = Kling(clock=lambda: NOW)
    asked = kling.status_request(ID, account(options={"access_key": "AK", "path": "videos/text2video"}), {})
    kind, _, token = asked.headers["authorization"].partition(" ")
    signed, _, signature = token.rpartition(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
    now = int(NOW.timestamp())
    assert (kind, header) == ("Bearer", {"alg": "HS256", "typ": "JWT"})
    assert claims == {"iss": "AK", "exp": now + 1800, "nbf": now - 5}
    right = hmac.new(b"api-secret", signed.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "==") == right
    assert "=" not in token
    assert "api-secret" not in str(asked.headers)


def test_without_an_access_key_the_key_is_sent_as_it_is() -> None:
    assert KLING.status_request(ID, account(), {}).headers["authorization"] == "Bearer api-secret"


@pytest.mark.parametrize(
    ("locator", "path"),
    [
        ({}, "videos/text2video"),
        ({"path": "images/generations"}, "images/generations"),
        ({"path": "/v1/videos/image2video/"}, "videos/image2video"),
        ({"path": "../../etc"}, "videos/text2video"),
        ({"path": "videos/text2video?x=1"}, "videos/text2video"),
        ({"path": 5}, "videos/text2video"),
    ],
)
def test_a_look_asks_the_interface_that_is_known(locator: dict[str, Any], path: str) -> None:
    assert KLING.status_request(ID, account(), locator).url == f"{API}/v1/{path}/{ID}"


def test_without_an_interface_nothing_is_asked() -> None:
    bare = account(options={})
    with pytest.raises(UpstreamRefused, match=r"options\.path"):
        KLING.status_request(ID, bare, {})
    assert KLING.list(MADE, ENDED, bare) is None
    assert KLING.probes(bare) == ()


def test_a_submission_is_tracked_from_its_envelope() -> None:
    found = KLING.track(SUBMITTED, {"model_name": "kling-v3", "path": "videos/text2video", "callback_url": "https://x"})
    facts = found.observations[0].facts
    assert (found.workflow_id, found.observations[0].status) == (ID, Status.SCHEDULED)
    assert (facts["model"], facts["external_id"]) == ("kling-v3", "order-17")
    assert facts["locator"] == {"path": "videos/text2video"}
    assert "callback_url" not in facts["request"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        *((code, CredentialsRefused) for code in range(1000, 1005)),
        *((code, UpstreamRefused) for code in (1100, 1101, 1102, 1103, 1200, 1201, 1300, 1301, 1304, 7777)),
        (1203, UpstreamGone),
        *((code, UpstreamBusy) for code in (1302, 1303, 5000, 5001, 5002)),
    ],
)
def test_a_code_inside_a_200_raises_by_what_it_means(code: int, error: type[ProviderError]) -> None:
    with pytest.raises(error):
        looked({**ANSWER, "code": code})


def test_answers_that_tell_nothing_raise_by_fault() -> None:
    for document in ({"code": 0}, {"code": 0, "data": None}, {"code": 0, "data": {**SUCCEED, "task_id": "another"}}):
        with pytest.raises(Unreadable):
            looked(document)


def test_a_listing_goes_on_while_pages_are_full() -> None:
    asked = KLING.list(MADE - timedelta(hours=1), MADE + timedelta(hours=1), account())
    assert asked is not None
    page = KLING.read_list(response(200, encoded({"code": 0, "data": [SUCCEED] * 100})), account(), asked)
    assert page.next is not None
    assert parse_qs(urlsplit(page.next.url).query) == {"pageNum": ["2"], "pageSize": ["100"]}
    last = KLING.read_list(response(200, encoded({"code": 0, "data": [FAILED, 5]})), account(), asked)
    assert (len(last.readings), last.skipped, last.next) == (1, 1, None)


def test_an_error_at_submit_time_is_read() -> None:
    fault = KLING.read_error(429, b'{"code":1102,"message":"Account balance not enough","request_id":"r1"}')
    assert (fault.code, fault.message, fault.request_id) == ("1102", "Account balance not enough", "r1")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"options": {"path": "Videos"}}, "options.path"),
        ({"options": {"access_key": 5}}, "options.access_key"),
        ({"options": {"access_key": "AK"}, "api_key": None}, "api_key"),
    ],
)
def test_options_that_cannot_be_right_are_named(fields: dict[str, Any], named: str) -> None:
    assert isinstance(KLING, Particular)
    assert KLING.account_problem(account()) is None
    assert named in (KLING.account_problem(account(**fields)) or "")


def test_only_the_token_is_a_proof() -> None:
    with pytest.raises(BadSignature):
        KLING.verify(inbound(encoded(SUCCEED)), account())
