"""How a request's headers and query are taken apart, and which headers become evidence."""

from __future__ import annotations

import pytest

from receiver.providers.signing import MAX_HEADER
from receiver.web.inbound import headers_of, kept_headers, query_of


def test_header_names_are_lower_case_and_repeated_ones_are_joined_in_order() -> None:
    raw = [(b"X-Signature", b"a"), (b"content-type", b"t\xe9xt"), (b"x-signature", b"b")]
    assert headers_of(raw) == {"x-signature": "a, b", "content-type": "téxt"}


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b"", {}),
        (b"token=a&token=b&ref=", {"token": "a", "ref": ""}),
        (b"token=a%2Bb+c", {"token": "a+b c"}),
        (b"a&b=1", {"a": "", "b": "1"}),
        (b"&".join(b"a=1" for _ in range(51)), {}),
    ],
)
def test_the_first_value_of_each_parameter_counts(raw: bytes, read: dict[str, str]) -> None:
    assert query_of(raw) == read


def test_evidence_keeps_what_says_what_was_sent_and_never_credentials() -> None:
    headers = dict.fromkeys(
        [
            "content-type", "user-agent", "webhook-id", "webhook-signature", "svix-timestamp", "x-hub-signature",
            "x-acme-id", "authorization", "proxy-authorization", "cookie", "x-webhook-token", "webhook-secret",
            "x-webhook-api-key", "x-forwarded-for", "host", "x-anything",
        ],
        "v",
    )  # fmt: skip
    kept = kept_headers(headers, ("x-acme-id",))
    assert list(kept) == [
        "content-type", "user-agent", "webhook-id", "webhook-signature", "svix-timestamp", "x-hub-signature",
        "x-acme-id",
    ]  # fmt: skip


def test_evidence_keeps_no_more_headers_than_a_page_holds() -> None:
    kept = kept_headers({f"webhook-{n}": "x" * 4000 for n in range(10)} | {"webhook-long": "x" * 9000}, ())
    assert len(kept) == 4
    assert "webhook-long" not in kept


def test_evidence_keeps_every_signature_that_is_believed() -> None:
    longest = {"webhook-signature": "x" * MAX_HEADER}
    assert kept_headers({"webhook-signature": "x" * MAX_HEADER}, ()) == longest
    assert kept_headers({"webhook-signature": "x" * (MAX_HEADER + 1)}, ()) == {}
