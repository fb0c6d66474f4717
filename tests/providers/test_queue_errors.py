"""The errors of fal, RunPod, Luma, Kling and Runway: every code of every table has one disposition, here is each."""

from __future__ import annotations

import json

import pytest

from receiver.providers import provider_named
from receiver.providers.advice import Disposition
from receiver.providers.fal_errors import RUN_ERRORS

RETRY, LATER, ONCE = Disposition.RETRY, Disposition.RETRY_LATER, Disposition.RETRY_ONCE
REQUEST, ACCOUNT = Disposition.FIX_REQUEST, Disposition.FIX_ACCOUNT
NEVER, CONTACT = Disposition.NEVER, Disposition.CONTACT

Key = tuple[int | None, str | None]

_HTTP: dict[Key, Disposition] = {
    (400, None): REQUEST,
    (401, None): ACCOUNT,
    (402, None): ACCOUNT,
    (403, None): ACCOUNT,
    (404, None): REQUEST,
    (429, None): LATER,
    (500, None): LATER,
    (503, None): LATER,
    (None, None): ONCE,
}

# fal: the thirteen request errors, then the errors of models, then pydantic's.
FAL: dict[Key, Disposition] = {
    **_HTTP,
    (422, None): REQUEST,
    (504, None): RETRY,
    (None, "request_timeout"): RETRY,
    (None, "startup_timeout"): LATER,
    (None, "runner_scheduling_failure"): LATER,
    (None, "runner_connection_timeout"): RETRY,
    (None, "runner_disconnected"): RETRY,
    (None, "runner_connection_refused"): RETRY,
    (None, "runner_connection_error"): RETRY,
    (None, "runner_incomplete_response"): RETRY,
    (None, "runner_server_error"): ONCE,
    (None, "client_disconnected"): RETRY,
    (None, "client_cancelled"): NEVER,
    (None, "bad_request"): REQUEST,
    (None, "internal_error"): LATER,
    (None, "internal_server_error"): LATER,
    (None, "generation_timeout"): RETRY,
    (None, "downstream_service_error"): LATER,
    (None, "downstream_service_unavailable"): LATER,
    (None, "content_policy_violation"): REQUEST,
    (None, "no_media_generated"): ONCE,
    (None, "feature_not_supported"): REQUEST,
    (None, "image_too_small"): REQUEST,
    (None, "image_too_large"): REQUEST,
    (None, "image_load_error"): REQUEST,
    (None, "file_download_error"): REQUEST,
    (None, "file_too_large"): REQUEST,
    (None, "face_detection_error"): REQUEST,
    (None, "unsupported_image_format"): REQUEST,
    (None, "unsupported_audio_format"): REQUEST,
    (None, "unsupported_video_format"): REQUEST,
    (None, "audio_duration_too_long"): REQUEST,
    (None, "audio_duration_too_short"): REQUEST,
    (None, "video_duration_too_long"): REQUEST,
    (None, "video_duration_too_short"): REQUEST,
    (None, "invalid_archive"): REQUEST,
    (None, "archive_file_count_below_minimum"): REQUEST,
    (None, "archive_file_count_exceeds_maximum"): REQUEST,
    (None, "greater_than"): REQUEST,
    (None, "greater_than_equal"): REQUEST,
    (None, "less_than"): REQUEST,
    (None, "less_than_equal"): REQUEST,
    (None, "multiple_of"): REQUEST,
    (None, "one_of"): REQUEST,
    (None, "sequence_too_short"): REQUEST,
    (None, "sequence_too_long"): REQUEST,
    (None, "missing"): REQUEST,
    (None, "value_error"): REQUEST,
    (None, "value_error.missing"): REQUEST,
}

RUNPOD: dict[Key, Disposition] = {
    **_HTTP,
    (413, None): REQUEST,
    (None, "TIMED_OUT"): RETRY,
    (None, "CANCELLED"): NEVER,
}

LUMA: dict[Key, Disposition] = {**_HTTP, (422, None): REQUEST}

KLING: dict[Key, Disposition] = {
    **_HTTP,
    (401, "1000"): ACCOUNT,
    (401, "1001"): ACCOUNT,
    (401, "1002"): ACCOUNT,
    (401, "1003"): ACCOUNT,
    (401, "1004"): ACCOUNT,
    (429, "1100"): ACCOUNT,
    (429, "1101"): ACCOUNT,
    (429, "1102"): ACCOUNT,
    (403, "1103"): ACCOUNT,
    (400, "1200"): REQUEST,
    (400, "1201"): REQUEST,
    (404, "1202"): REQUEST,
    (404, "1203"): REQUEST,
    (400, "1300"): REQUEST,
    (400, "1301"): REQUEST,
    (429, "1302"): LATER,
    (429, "1303"): LATER,
    (429, "1304"): ACCOUNT,
    (500, "5000"): LATER,
    (503, "5001"): LATER,
    (504, "5002"): LATER,
}

RUNWAY: dict[Key, Disposition] = {
    **_HTTP,
    (405, None): REQUEST,
    (None, "SAFETY"): REQUEST,
    (None, "INPUT_PREPROCESSING.SAFETY"): REQUEST,
    (None, "INPUT_PREPROCESSING.INTERNAL"): LATER,
    (None, "INPUT_PREPROCESSING"): REQUEST,
    (None, "ASSET.INVALID"): REQUEST,
    (None, "INTERNAL.BAD_OUTPUT"): ONCE,
    (None, "INTERNAL"): LATER,
    (None, "THIRD_PARTY"): LATER,
    (None, "CANCELLED"): NEVER,
}

TABLES = {"fal": FAL, "runpod": RUNPOD, "luma": LUMA, "kling": KLING, "runway": RUNWAY}


@pytest.mark.parametrize(
    ("name", "http", "code", "expected"),
    [(name, *key, expected) for name, rows in TABLES.items() for key, expected in rows.items()],
)
def test_every_code_has_exactly_this_disposition(
    name: str, http: int | None, code: str | None, expected: Disposition
) -> None:
    advice = provider_named(name).errors.advise(http, code)
    assert (advice.disposition, advice.known) == (expected, True)
    assert advice.text
    assert code is None or provider_named(name).errors.advise(None, code).disposition is expected


@pytest.mark.parametrize("name", sorted(TABLES))
def test_no_code_or_status_of_a_table_is_missing_here(name: str) -> None:
    rules = provider_named(name).errors.rules
    assert {rule.code for rule in rules} == {code for _, code in TABLES[name]}
    assert {rule.http for rule in rules if rule.code is None} <= {http for http, _ in TABLES[name]}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_an_unknown_code_is_not_retryable_and_shown_as_unknown(name: str) -> None:
    for http, code in ((None, "channel_17"), (418, "teapot"), (None, "CREDIT.DEDUCTION.FAILED")):
        advice = provider_named(name).errors.advise(http, code)
        assert (advice.disposition, advice.known) == (CONTACT, False)
        assert code in advice.text


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("fal", "Invalid status code: 422", REQUEST),
        ("runpod", "CUDA out of memory. Tried to allocate", REQUEST),
        ("runpod", "job timed out after 1 retries", RETRY),
        ("luma", "400: Input blocked by moderation", REQUEST),
        ("luma", "Insufficient credits", ACCOUNT),
        ("kling", "Failure to pass the risk control system", REQUEST),
        ("runway", "Something went wrong", ONCE),
    ],
)
def test_a_message_alone_tells_what_it_can(name: str, message: str, expected: Disposition) -> None:
    assert provider_named(name).errors.advise(None, None, message).disposition is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("SAFETY.INPUT.TEXT", REQUEST),
        ("SAFETY.OUTPUT.VIDEO", REQUEST),
        ("INTERNAL.BAD_OUTPUT.CODE01", ONCE),
        ("INTERNAL.SOMETHING", LATER),
        ("INPUT_PREPROCESSING.SAFETY.TEXT", REQUEST),
        ("THIRD_PARTY.UNAVAILABLE", LATER),
    ],
)
def test_a_code_of_runways_is_known_by_its_first_parts(code: str, expected: Disposition) -> None:
    advice = provider_named("runway").errors.advise(None, code)
    assert (advice.disposition, advice.known) == (expected, True)
    assert not provider_named("runway").errors.advise(None, ".".join("x" * 5000)).known


def test_every_error_that_ends_a_run_at_fal_is_in_its_table() -> None:
    assert {code for _, code in FAL if code} >= RUN_ERRORS
    assert "internal_error" not in RUN_ERRORS


@pytest.mark.parametrize(
    ("name", "http", "body", "code", "message"),
    [
        (
            "fal",
            422,
            {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "missing"}]},
            "missing",
            "field required",
        ),
        ("fal", 504, {"detail": "late", "error_type": "startup_timeout"}, "startup_timeout", "late"),
        ("fal", 403, {"detail": "User is locked"}, None, "User is locked"),
        ("runpod", 400, {"error": "no input"}, None, "no input"),
        ("luma", 403, {"detail": "Not authenticated"}, None, "Not authenticated"),
        ("kling", 429, {"code": 1303, "message": "parallel", "request_id": "r"}, "1303", "parallel"),
        ("runway", 400, {"error": "Validation of body failed"}, None, "Validation of body failed"),
    ],
)
def test_errors_at_submit_time_are_read(
    name: str, http: int, body: dict[str, object], code: str | None, message: str
) -> None:
    fault = provider_named(name).read_error(http, json.dumps(body).encode())
    assert (fault.code, fault.message) == (code, message)
    assert provider_named(name).errors.advise(http, fault.code, fault.message).known


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_gateways_page_is_read_by_its_title(name: str) -> None:
    page = provider_named(name).read_error(502, b"<html><head><title>502 Bad Gateway</title></head></html>")
    assert (page.code, page.message) == (None, "502 Bad Gateway")
