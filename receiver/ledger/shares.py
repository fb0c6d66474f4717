"""Links that show one blob to whoever has them, for a while, without a token of their own.

A link is signed with what is kept of the token of whoever made it: it names that token, dies with it, and needs no
record of its own.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlencode

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import tokens
from receiver.ledger.query_parts import href

USUAL, LONGEST = timedelta(hours=1), timedelta(days=7)
PARAMETERS = ("by", "until", "proof")
_DIGITS = 12


async def link(connection: AsyncConnection, source: str, blob_id: str, by: str, until: datetime) -> str | None:
    """Return the path of a link to a blob that works until then; None when there is no valid token of that name."""
    key = await _key(connection, by)
    if key is None:
        return None
    end = int(until.timestamp())
    query = {"by": by, "until": str(end), "proof": _proof(key, source, blob_id, end)}
    return f"{href(source, blob_id)}?{urlencode(query)}"


async def is_valid(
    connection: AsyncConnection, source: str, blob_id: str, by: str, until: str, proof: str, now: datetime
) -> bool:
    """Whether a link's parts are what `link` made of this very blob, its time is not over, and its maker's token is
    still valid."""
    if not (until.isascii() and until.isdigit() and len(until) <= _DIGITS):
        return False
    key = await _key(connection, by)
    right = _proof(key or b"nobody", source, blob_id, int(until))
    matches = hmac.compare_digest(proof.encode("utf-8", "replace"), right.encode())
    return matches and key is not None and now.timestamp() < int(until)


async def _key(connection: AsyncConnection, by: str) -> bytes | None:
    if "\0" in by:
        return None
    query = select(tokens.c.hash).where(tokens.c.name == by, tokens.c.revoked_at.is_(None))
    kept = (await connection.execute(query)).scalar_one_or_none()
    return None if kept is None else hmac.digest(bytes(kept), b"hookledger share", "sha256")


def _proof(key: bytes, source: str, blob_id: str, until: int) -> str:
    told = "\0".join((source, blob_id, str(until))).encode("utf-8", "surrogatepass")
    return hmac.new(key, told, sha256).hexdigest()
