"""What a refused signature is told: the sentence must lead to what is really wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from receiver.providers.base import BadSignature, Inbound
from receiver.providers.schemes import STANDARD_V1, STANDARD_V1A, SVIX_V1, SVIX_V1A
from receiver.providers.signing import check_signature

SCHEMES = (STANDARD_V1, STANDARD_V1A, SVIX_V1, SVIX_V1A)
SECRET, ANOTHER = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "whsec_NzY1NDMyMTBmZWRjYmE5ODc2NTQzMjEw"
NOW = datetime(2026, 1, 21, 22, 21, 26, tzinfo=UTC)
BODY = b'{"id": "x"}'


def signed(family: str, *, secret: str = SECRET, at: datetime = NOW) -> dict[str, str]:
    key, stamp = base64.b64decode(secret.removeprefix("whsec_")), str(int(at.timestamp()))
    made = hmac.new(key, f"m1.{stamp}.".encode() + BODY, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(made).decode()}"
    return {f"{family}-id": "m1", f"{family}-timestamp": stamp, f"{family}-signature": signature}


def refusal(headers: dict[str, str]) -> str:
    with pytest.raises(BadSignature) as caught:
        check_signature(SCHEMES, Inbound(headers, {}, BODY, NOW), (SECRET,), timedelta(minutes=5))
    return str(caught.value)


@pytest.mark.parametrize("family", ["webhook", "svix"])
def test_a_signature_by_another_secret_is_said_to_be_that(family: str) -> None:
    check_signature(SCHEMES, Inbound(signed(family), {}, BODY, NOW), (SECRET,), timedelta(minutes=5))
    told = refusal(signed(family, secret=ANOTHER))
    assert told == "no signature of this delivery was made with a secret of this source"


@pytest.mark.parametrize("family", ["webhook", "svix"])
def test_a_signature_that_is_too_old_is_said_to_be_that_whatever_the_headers_are_called(family: str) -> None:
    assert "too old" in refusal(signed(family, at=NOW - timedelta(minutes=6)))


def test_without_any_signature_the_first_header_that_would_do_is_named() -> None:
    assert refusal({}) == "the delivery has no header webhook-signature"
    assert "holds no signature" in refusal({**signed("svix"), "svix-signature": "v9,abc"})
