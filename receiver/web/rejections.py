"""Rejected deliveries: counted in memory, written now and then. A rejected request itself writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.database import Database, LedgerError
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.operations import rejections
from receiver.logs import log_event

EVERY = 10.0  # seconds between two writings
SAMPLES = 5  # kept per source and reason, the newest
NOBODY = "?"  # what unknown sources are counted under: whoever knocks must not make rows

_NAMES = 40  # header names in a sample, and
_NAME_LENGTH = 64  # characters of each
_HASHED = 2**20  # bytes of a body; hashing a larger one would hold up everybody else for the sake of a forgery


@dataclass(slots=True)
class _Tally:
    """What came up for one source and reason since the last writing."""

    last_at: datetime
    count: int = 0
    detail: str | None = None  # what was wrong with the newest
    samples: list[dict[str, Any]] = field(default_factory=list)


class Rejections:
    """Counts what was turned away. `add` is cheap and never waits; `flush` writes."""

    def __init__(self, database: Database, *, every: float = EVERY) -> None:
        self._database = database
        self._every = every
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write every few seconds."""
        self._task = asyncio.create_task(self._flush_forever(), name="rejections")

    async def stop(self) -> None:
        """End, and write what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        await self.flush()

    def add(
        self,
        source: str | None,
        reason: str,
        at: datetime,
        *,
        detail: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes | None = None,
        length: int | None = None,
    ) -> None:
        """Count one. `source` is None for one we do not know; `detail` is the sentence that was answered. Of headers
        only the names are kept, of a body its length and, up to a size, its hash; `length` is for a body that was not
        read."""
        key = (NOBODY if source is None else source, reason)
        tally = self._tallies.setdefault(key, _Tally(at))
        tally.count += 1
        tally.last_at, tally.detail = at, detail
        if len(tally.samples) < SAMPLES:
            names = sorted({name[:_NAME_LENGTH].decode("latin-1") for name, _ in headers})
            tally.samples.append(
                {
                    "at": at.isoformat(),
                    "detail": detail,
                    "headers": names[:_NAMES],
                    "length": length if body is None else len(body),
                    "sha256": None if body is None or len(body) > _HASHED else sha256(body).hexdigest(),
                }
            )

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted. When the database cannot take it, it is kept for the next time."""
        taken, self._tallies = self._tallies, {}
        if not taken:
            return
        try:
            async with self._database.write() as conn:
                for (source, reason), tally in sorted(taken.items()):
                    await _add(conn, source, reason, tally)
        except BaseException as error:
            self._put_back(taken)
            if not isinstance(error, (LedgerError, DBAPIError, *DRIVER_ERRORS)):
                raise
            with suppress(Exception):
                log_event("rejections not written", level="warning", error=error)
            return
        for (source, reason), tally in sorted(taken.items()):
            log_event("rejected", level="warning", source=source, reason=reason, count=tally.count, detail=tally.detail)

    def _put_back(self, taken: dict[tuple[str, str], _Tally]) -> None:
        for key, tally in taken.items():
            newer = self._tallies.setdefault(key, _Tally(tally.last_at))
            newer.count += tally.count
            newer.detail = newer.detail or tally.detail
            newer.samples = (tally.samples + newer.samples)[-SAMPLES:]


async def _add(conn: AsyncConnection, source: str, reason: str, tally: _Tally) -> None:
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    fresh = insert(rejections).values(source=source, reason=reason, count=0, last_at=tally.last_at, samples=[])
    await conn.execute(fresh.on_conflict_do_nothing())
    this = (rejections.c.source == source, rejections.c.reason == reason)
    known = (await conn.execute(select(rejections).where(*this).with_for_update())).mappings().one()
    await conn.execute(
        rejections.update()
        .where(*this)
        .values(
            count=known["count"] + tally.count,
            last_at=max(known["last_at"], tally.last_at),
            samples=(known["samples"] + tally.samples)[-SAMPLES:],
        )
    )
