"""The errors of Beeble, EvoLink and RemoveBGVideo: every code of every table has one disposition, and here is each."""

from __future__ import annotations

import json

import pytest

from receiver.providers import provider_named
from receiver.providers.advice import Disposition, ErrorTable

RETRY, LATER, ONCE = Disposition.RETRY, Disposition.RETRY_LATER, Disposition.RETRY_ONCE
REQUEST, ACCOUNT = Disposition.FIX_REQUEST, Disposition.FIX_ACCOUNT
NEVER, CONTACT = Disposition.NEVER, Disposition.CONTACT

Key = tuple[int | None, str | None]

# Beeble: the newest table and the older page (INSUFFICIENT_CREDITS), each code under its status; then statuses alone.
BEEBLE: dict[Key, Disposition] = {
    (400, "INVALID_GENERATION_TYPE"): REQUEST,
    (400, "INVALID_ALPHA_MODE"): REQUEST,
    (400, "INVALID_MAX_RESOLUTION"): REQUEST,
    (400, "MISSING_STYLE_INPUT"): REQUEST,
    (400, "MISSING_SOURCE"): REQUEST,
    (400, "MISSING_ALPHA"): REQUEST,
    (400, "INVALID_FILE_FORMAT"): REQUEST,
    (400, "ALPHA_TYPE_MISMATCH"): REQUEST,
    (400, "ALPHA_MUST_BE_IMAGE"): REQUEST,
    (400, "SOURCE_TOO_LARGE"): REQUEST,
    (400, "VIDEO_TOO_MANY_FRAMES"): REQUEST,
    (400, "INVALID_URI"): REQUEST,
    (400, "SOURCE_UNREACHABLE"): ONCE,
    (400, "INVALID_FILENAME"): REQUEST,
    (400, "INVALID_CALLBACK_URL"): REQUEST,
    (401, "INVALID_API_KEY"): ACCOUNT,
    (402, "BILLING_NOT_CONFIGURED"): ACCOUNT,
    (402, "INSUFFICIENT_BALANCE"): ACCOUNT,
    (402, "HARD_LIMIT_EXCEEDED"): ACCOUNT,
    (402, "CREDIT_DEDUCTION_FAILED"): ACCOUNT,
    (402, "INSUFFICIENT_CREDITS"): ACCOUNT,
    (404, "JOB_NOT_FOUND"): REQUEST,
    (429, "RATE_LIMIT_EXCEEDED"): LATER,
    (429, "CONCURRENT_LIMIT_EXCEEDED"): LATER,
    (500, "INTERNAL_ERROR"): LATER,
    (500, "CREDIT_DEDUCTION_FAILED"): LATER,
    (500, "UPLOAD_URL_FAILED"): LATER,
    (500, "JOB_QUEUE_FAILED"): LATER,
    (None, "credit_required"): ACCOUNT,
    (400, None): REQUEST,
    (401, None): ACCOUNT,
    (402, None): ACCOUNT,
    (403, None): ACCOUNT,
    (404, None): REQUEST,
    (409, None): REQUEST,
    (429, None): LATER,
    (500, None): LATER,
    (None, None): ONCE,
}

_EVOLINK_HTTP = {
    (400, "invalid_request_error"): REQUEST,
    (401, "authentication_error"): ACCOUNT,
    (402, "insufficient_quota_error"): ACCOUNT,
    (403, "permission_error"): ACCOUNT,
    (404, "not_found_error"): REQUEST,
    (413, "request_too_large_error"): REQUEST,
    (429, "rate_limit_error"): LATER,
    (500, "internal_server_error"): ONCE,
    (502, "upstream_error"): LATER,
    (503, "service_unavailable_error"): LATER,
}
# EvoLink: the codes of failed tasks (no status), the gateway's codes, and each HTTP status in its three spellings.
EVOLINK: dict[Key, Disposition] = {
    (None, "content_policy_violation"): REQUEST,
    (None, "invalid_parameters"): REQUEST,
    (None, "image_processing_error"): REQUEST,
    (None, "image_dimension_mismatch"): REQUEST,
    (None, "request_cancelled"): RETRY,
    (None, "generation_failed_no_content"): ONCE,
    (None, "service_error"): LATER,
    (None, "generation_timeout"): LATER,
    (None, "resource_exhausted"): LATER,
    (None, "quota_exceeded"): LATER,
    (None, "service_unavailable"): LATER,
    (None, "resource_not_found"): REQUEST,
    (None, "unknown_error"): CONTACT,
    (None, "invalid_request"): REQUEST,
    (None, "invalid_audio"): REQUEST,
    (402, "insufficient_quota"): ACCOUNT,
    (402, "insufficient_user_quota"): ACCOUNT,
    (402, "quota_not_enough"): ACCOUNT,
    (402, "key_quota_exhausted"): ACCOUNT,
    (402, "token_daily_quota_exceeded"): ACCOUNT,
    (403, "key_disabled"): ACCOUNT,
    (403, "key_expired"): ACCOUNT,
    (403, "key_model_not_allowed"): ACCOUNT,
    (409, "idempotency_conflict"): REQUEST,
    (None, "paid_outcome_unknown"): NEVER,
    (500, "paid_outcome_unknown"): NEVER,
    (503, "no_available_channel"): LATER,
    (503, "model_unavailable"): LATER,
    (400, "invalid_task_id"): REQUEST,
    (404, "task_not_found"): REQUEST,
    **_EVOLINK_HTTP,
    **{(http, None): expected for (http, _), expected in _EVOLINK_HTTP.items()},
    **{(None, str(http)): expected for (http, _), expected in _EVOLINK_HTTP.items()},
    (None, None): ONCE,
}

REMOVEBGVIDEO: dict[Key, Disposition] = {
    (401, "missing_api_key"): ACCOUNT,
    (401, "invalid_api_key"): ACCOUNT,
    (400, "invalid_request"): REQUEST,
    (402, "insufficient_credits"): ACCOUNT,
    (429, "rate_limited"): LATER,
    (500, "internal_error"): LATER,
    (None, "timeout"): RETRY,
    (504, "timeout"): RETRY,
    (400, None): REQUEST,
    (401, None): ACCOUNT,
    (402, None): ACCOUNT,
    (403, None): ACCOUNT,
    (404, None): REQUEST,
    (413, None): REQUEST,
    (422, None): REQUEST,
    (429, None): LATER,
    (500, None): LATER,
    (502, None): LATER,
    (503, None): LATER,
    (504, None): LATER,
    (None, None): ONCE,
}

TABLES = {"beeble": BEEBLE, "evolink": EVOLINK, "removebgvideo": REMOVEBGVIDEO}


def table(name: str) -> ErrorTable:
    return provider_named(name).errors


@pytest.mark.parametrize(
    ("name", "http", "code", "expected"),
    [(name, *key, expected) for name, rows in TABLES.items() for key, expected in rows.items()],
)
def test_every_code_has_exactly_this_disposition(
    name: str, http: int | None, code: str | None, expected: Disposition
) -> None:
    advice = table(name).advise(http, code)
    assert (advice.disposition, advice.known) == (expected, True)
    assert advice.text


@pytest.mark.parametrize("name", sorted(TABLES))
def test_no_code_or_status_of_a_table_is_missing_here(name: str) -> None:
    rules = table(name).rules
    assert {rule.code for rule in rules} == {code for _, code in TABLES[name]}
    assert {rule.http for rule in rules if rule.code is None} <= {http for http, _ in TABLES[name]}
    plain = [(rule.http, rule.code) for rule in rules if not rule.contains]
    assert len(plain) == len(set(plain))


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_known_code_without_its_status_means_the_same(name: str) -> None:
    for (_, code), expected in TABLES[name].items():
        if code not in (None, "CREDIT_DEDUCTION_FAILED"):
            assert table(name).advise(None, code).disposition is expected, code


@pytest.mark.parametrize("name", sorted(TABLES))
def test_an_unknown_code_is_not_retryable_and_shown_as_unknown(name: str) -> None:
    for http, code in ((None, "channel_17"), (418, "teapot"), (None, "CREDIT_DEDUCTION_FAILED")):
        advice = table(name).advise(http, code)
        assert (advice.disposition, advice.known) == (CONTACT, False)


@pytest.mark.parametrize(
    ("name", "http", "code", "expected"),
    [
        ("removebgvideo", None, "timeout", RETRY),
        ("evolink", None, "request_cancelled", RETRY),
        ("evolink", None, "generation_failed_no_content", ONCE),
        ("evolink", None, "resource_not_found", REQUEST),
        *((name, None, None, ONCE) for name in TABLES),
        *((name, 402, code, ACCOUNT) for name in TABLES for code in (None, "never_heard_of")),
    ],
)
def test_what_the_design_pins_stays(name: str, http: int | None, code: str | None, expected: Disposition) -> None:
    assert table(name).advise(http, code).disposition is expected


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (
            "content_policy_violation",
            "Content policy violation. Details: photorealistic people detected.",
            "human faces",
        ),
        ("content_policy_violation", "celebrity detected in image", "celebrity"),
        ("content_policy_violation", "third-party content violation", "trademarks"),
        ("content_policy_violation", "nudity detected", "Nudity"),
        ("content_policy_violation", "violence content blocked", "Violence"),
        ("content_policy_violation", "minor content not allowed", "minors"),
        ("content_policy_violation", "content policy violation", "safety filters"),
        ("invalid_parameters", "Prompt is too long", "shorten"),
        ("invalid_parameters", "image dimensions must be between 240 and 7680", "resize"),
        ("invalid_parameters", "file size exceeds 10MB", "smaller"),
        ("invalid_parameters", "unsupported file type", "format"),
        ("invalid_parameters", "Video duration must be between 1-30 seconds", "cut it"),
        ("invalid_parameters", "seed is negative", "requirements"),
    ],
)
def test_evolinks_sub_types_are_told_apart_by_the_message(code: str, message: str, said: str) -> None:
    advice = table("evolink").advise(None, code, message)
    assert advice.disposition is REQUEST
    assert said in advice.text


@pytest.mark.parametrize(
    ("http", "message", "expected", "said"),
    [
        (400, "Invalid file type", REQUEST, "quicktime"),
        (400, "File too large", REQUEST, "500 MB"),
        (400, "Job not completed", LATER, "not ended"),
        (404, "Job not found", REQUEST, "No such job"),
        (500, "Processing failed", LATER, "start the job again"),
        (None, "Processing failed", LATER, "start the job again"),
        (None, "Something else", ONCE, "without a reason"),
    ],
)
def test_removebgvideos_sentences_have_a_meaning_without_a_code(
    http: int | None, message: str, expected: Disposition, said: str
) -> None:
    advice = table("removebgvideo").advise(http, None, message)
    assert advice.disposition is expected
    assert said in advice.text


@pytest.mark.parametrize(
    ("name", "http", "body", "told", "expected"),
    [
        ("beeble", 402, {"error": {"code": "CREDIT_DEDUCTION_FAILED", "message": "m"}},
         ("CREDIT_DEDUCTION_FAILED", "m", None), ACCOUNT),
        ("evolink", 402, {"error": {"code": 402, "message": "m", "type": "insufficient_quota_error"}},
         ("insufficient_quota_error", "m", None), ACCOUNT),
        ("evolink", 503, {"error": {"code": "503", "message": "m"}}, (None, "m", None), LATER),
        ("evolink", 400, {"error": {"code": "invalid_task_id", "message": "m", "param": "task_id"}},
         ("invalid_task_id", "m", None), REQUEST),
        ("evolink", 413, {"success": False, "code": 413, "msg": "too big"}, (None, "too big", None), REQUEST),
        ("removebgvideo", 402, {"error": {"code": "insufficient_credits", "message": "m", "request_id": "req_123456"}},
         ("insufficient_credits", "m", "req_123456"), ACCOUNT),
        ("removebgvideo", 400, {"message": "File too large"}, (None, "File too large", None), REQUEST),
        ("removebgvideo", 400, {"detail": "Job not completed"}, (None, "Job not completed", None), LATER),
    ],
)  # fmt: skip
def test_an_error_met_at_submit_time_is_read_and_advised_upon(
    name: str, http: int, body: object, told: tuple[str | None, str, str | None], expected: Disposition
) -> None:
    fault = provider_named(name).read_error(http, json.dumps(body).encode())
    assert (fault.code, fault.message, fault.request_id) == told
    assert table(name).advise(http, fault.code, fault.message).disposition is expected


def test_a_proxys_page_or_plain_text_is_an_error_too() -> None:
    for name in TABLES:
        page = provider_named(name).read_error(502, b"<html><head><title>502 Bad Gateway</title></head></html>")
        assert (page.code, page.message) == (None, "502 Bad Gateway")
        assert table(name).advise(502, page.code, page.message).disposition is LATER
    plain = provider_named("removebgvideo").read_error(400, b"Invalid file type")
    assert plain.message == "Invalid file type"


def test_evolink_says_how_long_to_wait_for_it() -> None:
    assert table("evolink").advise(503, None).retry_after == 30
