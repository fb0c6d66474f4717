"""How upstreams sign what they send, from their documents; each gives the header's value."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def timestamped(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` over timestamp, a dot and the body, hex (RemoveBGVideo, UPSTREAMS §4.4)."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def standard_webhooks(secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks (UPSTREAMS §5.0). A secret without `whsec_` is its own key (§5.3)."""
    encoded = secret.removeprefix("whsec_")
    key = secret.encode() if encoded == secret else base64.b64decode(encoded)
    seconds = str(int(at.timestamp()))
    mac = hmac.new(key, f"{message_id}.{seconds}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": message_id, "webhook-timestamp": seconds, "webhook-signature": signature}


class Ed25519Key:
    """A private key of 32 bytes."""

    def __init__(self, private: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private)

    @classmethod
    def of(cls, *words: object) -> Self:
        """Made from a few words, so that the same sandbox has the same one."""
        return cls(hashlib.sha256(":".join(map(str, words)).encode()).digest())

    def fal(self, request_id: str, user_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """fal's four headers (UPSTREAMS §5.2)."""
        seconds = str(int(at.timestamp()))
        lines = (request_id, user_id, seconds, hashlib.sha256(body).hexdigest())
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": seconds,
            "X-Fal-Webhook-Signature": self._key.sign("\n".join(lines).encode()).hex(),
        }

    def jwk(self) -> dict[str, str]:
        """The public half as a JSON Web Key."""
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).decode().rstrip("=")}
