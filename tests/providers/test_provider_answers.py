"""HTTP answers, named by whose fault they are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from civitai_samples import GATEWAY_PAGE, NOW, account, encoded, response

from receiver.providers.answers import MAX_SAID, answered, retry_after, said
from receiver.providers.base import (
    CredentialsRefused,
    ProviderError,
    Unreadable,
    UpstreamBusy,
    UpstreamGone,
    UpstreamRefused,
)

OK = frozenset({200})

FAULTS: dict[type[ProviderError], tuple[int, ...]] = {
    UpstreamGone: (404, 410),
    CredentialsRefused: (401,),
    UpstreamRefused: (301, 302, 307, 308, 400, 402, 403, 405, 422),
    UpstreamBusy: (204, 206, 408, 409, 418, 425, 429, 500, 502, 503, 504, 520, 524, 599),
}


@pytest.mark.parametrize(("fault", "status"), [(fault, status) for fault, many in FAULTS.items() for status in many])
def test_every_status_has_its_fault(fault: type[ProviderError], status: int) -> None:
    for body in (b"", GATEWAY_PAGE, b'{"title":"no"}', b'"no"', b"\xff\x00", b"[" * 5000):
        with pytest.raises(ProviderError) as caught:
            answered(response(status, body), account(), OK)
        assert type(caught.value) is fault
        assert str(status) in str(caught.value)
        assert getattr(caught.value, "status", status) == status


def test_a_good_answer_is_its_object() -> None:
    assert answered(response(200, b'{"a":1}'), account(), OK) == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"{", GATEWAY_PAGE, b'{"a":NaN}', b"\xff"])
def test_a_good_status_over_a_body_that_is_not_json_means_try_again(body: bytes) -> None:
    with pytest.raises(UpstreamBusy, match="not JSON"):
        answered(response(200, body), account(), OK)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"null", b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"])
def test_json_of_the_wrong_shape_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        answered(response(200, body), account(), OK)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"title":"Bad","detail":"Input image is too large."}', "Bad: Input image is too large."),
        (b'{"title":null,"detail":"gone"}', "gone"),
        (b'{"errors":{"messages":["first","second"]}}', "messages: first"),
        (b'{"errors":{"path":[]}}', "path"),
        (b'{"error":"plain"}', "plain"),
        (b'"Insufficient funds"', "Insufficient funds"),
        (b"Too many\n requests", "Too many requests"),
        (GATEWAY_PAGE, "524: A timeout occurred"),
        (b"<html>no title</html>", ""),
        (b"[1,2]", ""),
        (b'{"title":5}', ""),
        (b"", ""),
    ],
)
def test_an_error_is_told_in_upstreams_own_sentence(body: bytes, sentence: str) -> None:
    assert said(response(400, body), account()) == sentence


def test_an_error_is_short_printable_and_without_our_secrets() -> None:
    line = said(response(400, b"api-secret hook-secret \x1b[31m" + b"word " * 90_000), account())
    assert len(line) == MAX_SAID
    assert line.isprintable()
    assert "secret" not in line


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17 ", 17.0),
        ("Wed, 21 Jan 2026 22:30:40 GMT", 40.0),
        ("Wed, 21 Jan 2026 22:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("9" * 5000, None),
        ("soon", None),
        ("Wed, 99 Jan 2026 99:99:99 GMT", None),
        ("", None),
    ],
)
def test_the_time_to_wait_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(response(429, b"", {"retry-after": value})) == seconds


def test_a_date_to_wait_for_is_measured_by_upstreams_own_clock() -> None:
    answer = response(503, b"", {"retry-after": "Wed, 21 Jan 2026 22:30:40 GMT"}, date=NOW + timedelta(seconds=30))
    assert retry_after(answer) == 10.0
    with pytest.raises(UpstreamBusy) as caught:
        answered(answer, account(), OK)
    assert caught.value.retry_after == 10.0


def test_no_header_no_time() -> None:
    assert retry_after(response(429, encoded({}))) is None
