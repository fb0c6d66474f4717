"""Deliveries signed as Standard Webhooks says, with nothing but the standard library."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from receiver.providers.base import Inbound

NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


def signed(
    body: bytes, secret: str, at: datetime, *, query: Mapping[str, str] | None = None, prefix: str = "webhook"
) -> Inbound:
    """A delivery received at the very second it was signed, with the id `msg_1`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    stamp = str(int(at.timestamp()))
    digest = hmac.new(key, b"msg_1." + stamp.encode() + b"." + body, hashlib.sha256).digest()
    headers = {
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": stamp,
        f"{prefix}-signature": "v1," + base64.b64encode(digest).decode(),
    }
    return Inbound(headers, query or {}, body, at)
