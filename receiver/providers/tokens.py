"""The secret in the URL (`?token=…`): the only proof an upstream without signatures can give (R9)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from receiver.providers.base import BadSignature


def check_token(query: Mapping[str, str], tokens: Sequence[str]) -> None:
    """Return when `query["token"]` is one of `tokens`; raise BadSignature otherwise.

    Several tokens are right at once while they rotate. All are compared, by digest, in constant time: how long it takes
    tells neither which one was near nor how long it is.
    """
    given = query.get("token")
    if not given:
        raise BadSignature("the URL carries no token; register the address that `hookledger url` prints")
    if not any(tokens):
        raise BadSignature("this source has no hook_token to compare with")
    mine = _digest(given)
    matches = [hmac.compare_digest(mine, _digest(token)) for token in tokens if token]
    if not any(matches):
        raise BadSignature("the token in the URL is not one of this source's")


def _digest(token: str) -> bytes:
    # A query decoded leniently may hold lone surrogates; they are merely wrong, not an error.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
