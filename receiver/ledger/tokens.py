"""API tokens: made once, shown once, kept as a hash (DESIGN §8.2)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

from sqlalchemy import RowMapping, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.database import LedgerError
from receiver.ledger.operations import tokens
from receiver.ledger.tables import SCOPES

PREFIX = "hl_"
_SHAPE = re.compile(r"hl_[A-Za-z0-9_-]{43}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
# `last_used_at` is written no more often than this, so that reading does not turn into writing.
USED_EVERY = timedelta(minutes=1)


class TokenRefused(LedgerError):
    """A token cannot be made under this name or scope; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; never the token itself."""

    name: str
    scope: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    def allows(self, scope: str) -> bool:
        """Whether this token may do what needs `scope`: each scope includes the ones before it."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


def digest(token: str) -> bytes:
    """Return what is kept of a token. It has 256 bits of chance, so a fast hash is enough."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


async def create(connection: AsyncConnection, name: str, scope: str, now: datetime) -> str:
    """Make a token and return it: the only time that anyone can see it. Raises TokenRefused."""
    if not _NAME.fullmatch(name):
        raise TokenRefused("a token's name must be 1 to 64 letters, digits, - _ or ., starting with a letter or digit")
    if scope not in SCOPES:
        raise TokenRefused(f"a token's scope must be one of {', '.join(SCOPES)}")
    found = (await connection.execute(select(tokens.c.revoked_at).where(tokens.c.name == name))).first()
    if found is not None:
        state = "was revoked; its name stays taken" if found.revoked_at else "exists already"
        raise TokenRefused(f"a token named {name} {state}: choose another name")
    token = PREFIX + secrets.token_urlsafe(32)
    await connection.execute(tokens.insert().values(name=name, scope=scope, hash=digest(token), created_at=now))
    return token


async def listing(connection: AsyncConnection) -> list[Token]:
    """Return every token, the revoked ones too, by name."""
    return [token_of(row) for row in (await connection.execute(select(tokens).order_by(tokens.c.name))).mappings()]


async def revoke(connection: AsyncConnection, name: str, now: datetime) -> bool:
    """Make a token worthless at once; returns False when none of that name is valid."""
    statement = update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
    return (await connection.execute(statement.returning(tokens.c.name))).first() is not None


async def identify(connection: AsyncConnection, given: str) -> Token | None:
    """Return the valid token that `given` is, None when it is none or revoked."""
    if not _SHAPE.fullmatch(given):
        return None
    mine = digest(given)
    found = (await connection.execute(select(tokens).where(tokens.c.hash == mine))).mappings().first()
    if found is None or not compare_digest(bytes(found["hash"]), mine) or found["revoked_at"] is not None:
        return None
    return token_of(found)


async def still_valid(connection: AsyncConnection, name: str) -> bool:
    """Whether the token of this name has not been revoked: for what goes on long after it was shown."""
    valid = select(exists().where(tokens.c.name == name, tokens.c.revoked_at.is_(None)))
    return bool((await connection.execute(valid)).scalar_one())


async def any_valid(connection: AsyncConnection) -> bool:
    """Whether there is a token that works."""
    return bool((await connection.execute(select(exists().where(tokens.c.revoked_at.is_(None))))).scalar_one())


def use_is_news(token: Token, now: datetime) -> bool:
    """Whether the use of a token is worth writing down."""
    return token.last_used_at is None or now - token.last_used_at >= USED_EVERY


async def used(connection: AsyncConnection, name: str, now: datetime) -> None:
    """Remember that a token was used."""
    stale = or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at <= now - USED_EVERY)
    await connection.execute(update(tokens).where(tokens.c.name == name, stale).values(last_used_at=now))


def token_of(row: RowMapping) -> Token:
    """Return what a row says of a token."""
    return Token(row["name"], row["scope"], row["created_at"], row["last_used_at"], row["revoked_at"])
