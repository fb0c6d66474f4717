"""Public keys that an upstream publishes (JWKS, RFC 7517): as source state holds them, and as bytes to check with."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

from receiver.ledger.records import JsonObject
from receiver.providers.base import Unreadable
from receiver.providers.instants import instant, rfc3339

MAX_KEYS = 32
_AGREE = timedelta(minutes=5)  # how far the clocks of our own machines may differ
_KEPT = ("kty", "crv", "kid", "x")


def published_keys(document: JsonObject, fetched_at: datetime) -> JsonObject:
    """Return a JWKS document as `signing.check_published` takes it: `{"keys": [...], "fetched_at": RFC 3339}`.

    Raises Unreadable when it holds no Ed25519 key.
    """
    kept: JsonObject = {"keys": document.get("keys"), "fetched_at": rfc3339(fetched_at)}
    if not public_keys(kept):
        raise Unreadable("the signer's keys hold no Ed25519 public key")
    listed = [each for each in document["keys"] if _public_key(each) is not None][:MAX_KEYS]
    return {**kept, "keys": [{name: each[name] for name in _KEPT if name in each} for each in listed]}


def age(keys: JsonObject | None, now: datetime) -> timedelta | None:
    """Return how long ago kept keys were fetched, None when they do not say, or name a time still to come."""
    fetched = instant((keys or {}).get("fetched_at"))
    if fetched is None or fetched > now + _AGREE:
        return None
    return now - fetched


def public_keys(keys: JsonObject | None) -> list[bytes]:
    """Return the Ed25519 public keys (32 bytes each) among kept keys, at most MAX_KEYS; others are passed over."""
    listed = (keys or {}).get("keys")
    found = [_public_key(each) for each in listed] if type(listed) is list else []
    return [key for key in found if key is not None][:MAX_KEYS]


def _public_key(jwk: object) -> bytes | None:
    """The 32 bytes of an Ed25519 key (RFC 8037: kty OKP, crv Ed25519, x base64url), None for any other."""
    if type(jwk) is not dict or jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or type(jwk.get("x")) is not str:
        return None
    try:
        raw = base64.b64decode(jwk["x"].rstrip("=") + "=", b"-_", validate=True)
    except ValueError:
        return None
    return raw if len(raw) == 32 else None
