"""Browsers that are logged in, and the one-time codes that log them in (DESIGN §8.2).

Both stand for a token, are kept as hashes, end by themselves, and are worth nothing once their token is revoked.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import login_codes, sessions, tokens
from receiver.ledger.tokens import Token, TokenRefused, digest, token_of

IDLE = timedelta(hours=12)  # a session that nobody uses ends after this,
LONGEST = timedelta(days=7)  # and any session after this
CODE_LIVES = timedelta(seconds=60)
# A session is lengthened no more often than this, so that looking does not turn into writing.
_LENGTHENED_EVERY = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is logged in with a token. `secret` is what its cookie holds."""

    secret: str
    token: Token
    created_at: datetime
    expires_at: datetime

    def lengthened(self, now: datetime) -> datetime | None:
        """Return until when its use now makes it last, None when that is not worth writing down."""
        until = min(now + IDLE, self.created_at + LONGEST)
        return until if until - self.expires_at >= _LENGTHENED_EVERY else None


async def begin(connection: AsyncConnection, token: str, now: datetime) -> str:
    """Log a browser in with the token of this name; returns what its cookie is to hold. Clears what has expired."""
    await connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    secret = secrets.token_urlsafe(32)
    row = {"hash": digest(secret), "token": token, "created_at": now, "expires_at": now + IDLE}
    await connection.execute(sessions.insert().values(**row))
    return secret


async def find(connection: AsyncConnection, secret: str, now: datetime) -> Session | None:
    """Return the session a cookie stands for; None when it is none, has expired, or its token was revoked."""
    query = (
        select(tokens, sessions.c.created_at.label("begun_at"), sessions.c.expires_at)
        .join(tokens, tokens.c.name == sessions.c.token)
        .where(sessions.c.hash == digest(secret), sessions.c.expires_at > now, tokens.c.revoked_at.is_(None))
    )
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else Session(secret, token_of(row), row["begun_at"], row["expires_at"])


async def lengthen(connection: AsyncConnection, session: Session, until: datetime) -> None:
    """Let a session that is in use last."""
    mine = sessions.c.hash == digest(session.secret)
    await connection.execute(update(sessions).where(mine).values(expires_at=until))


async def end(connection: AsyncConnection, secret: str) -> None:
    """Log a browser out."""
    await connection.execute(delete(sessions).where(sessions.c.hash == digest(secret)))


async def make_code(connection: AsyncConnection, token: str, now: datetime) -> str:
    """Return a code that logs one browser in, once, with the token of this name. Raises TokenRefused: none such."""
    query = select(tokens.c.name).where(tokens.c.name == token, tokens.c.revoked_at.is_(None))
    if (await connection.execute(query)).first() is None:
        raise TokenRefused(f"no valid token is named {token}")
    await connection.execute(delete(login_codes).where(login_codes.c.expires_at <= now))
    code = secrets.token_urlsafe(24)
    row = {"hash": digest(code), "token": token, "expires_at": now + CODE_LIVES}
    await connection.execute(login_codes.insert().values(**row))
    return code


async def use_code(connection: AsyncConnection, code: str, now: datetime) -> str | None:
    """Use a code up; returns the name of its token, None when it is unknown, was used, is too old or its token was
    revoked."""
    statement = delete(login_codes).where(login_codes.c.hash == digest(code)).returning(login_codes)
    row = (await connection.execute(statement)).mappings().first()
    if row is None or row["expires_at"] <= now:
        return None
    query = select(tokens.c.name).where(tokens.c.name == row["token"], tokens.c.revoked_at.is_(None))
    return (await connection.execute(query)).scalar_one_or_none()
