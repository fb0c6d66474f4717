"""Answers that arrive close together are applied in one transaction; only when they pour in is more waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from receiver.ledger.apply import apply
from receiver.ledger.database import Database, DatabaseUnavailable, LedgerError, now
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.entries import Entry, Result
from receiver.ledger.recent import Recent
from receiver.logs import log_event

# What a database in trouble raises.
TROUBLE = (LedgerError, SQLAlchemyError, *DRIVER_ERRORS)

MOST = 300  # entries in one transaction
# After a transaction of so many, the next one waits for so many seconds.
_MANY = 20
_GATHER = 0.03
_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)  # between tries while the database is away; the lease is what really limits them


@dataclass(slots=True)
class _Waiting:
    entry: Entry
    done: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Committer:
    """One writer for all looks of this process: it takes whatever has queued up while it was busy."""

    def __init__(self, database: Database, recent: Recent | None = None) -> None:
        """`recent` holds copies of the workflows that were claimed, and afterwards of those that were written."""
        self._database = database
        self._recent = recent
        self._queue: deque[list[_Waiting]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._queued = 0

    @property
    def backlog(self) -> int:
        """How many entries wait to be written."""
        return self._queued

    async def commit(self, entry: Entry) -> Result:
        """Apply one entry and return what became of it, once that is committed.

        Raises one of TROUBLE when it is not: then the look's lease runs out, and it is made again.
        A caller that is cancelled does not take its entry back.
        """
        (waiting,) = self._enqueue([entry])
        return await asyncio.shield(waiting.done)

    async def commit_together(self, entries: Sequence[Entry]) -> list[Result | BaseException]:
        """Apply entries in one transaction; returns for each what became of it, or why it was not written.

        They only go in one by one when the transaction of all of them failed.
        """
        waiting = self._enqueue(entries)
        return await asyncio.gather(*(asyncio.shield(one.done) for one in waiting), return_exceptions=True)

    def _enqueue(self, entries: Sequence[Entry]) -> list[_Waiting]:
        group = [_Waiting(entry) for entry in entries]
        self._queue.append(group)
        self._queued += len(group)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return group

    def _next(self) -> list[_Waiting]:
        batch = self._queue.popleft()
        while self._queue and len(batch) + len(self._queue[0]) <= MOST:
            batch = [*batch, *self._queue.popleft()]
        self._queued -= len(batch)
        return batch

    async def close(self) -> None:
        """Return once everything queued is committed or has failed."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _drain(self) -> None:
        many = False
        while self._queue:
            if many and self._queued < MOST:
                await asyncio.sleep(_GATHER)  # answers are pouring in: fewer, larger transactions cost less
            batch = self._next()
            many = len(batch) >= _MANY
            try:
                results = await self._apply([one.entry for one in batch])
            except SQLAlchemyError as error:
                # One of them cannot be written, or two processes were in each other's way. Each for itself, then.
                await self._one_by_one(batch, error)
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                _fail(batch, error)
            else:
                for one, result in zip(batch, results, strict=True):
                    if not one.done.done():
                        one.done.set_result(result)

    async def _one_by_one(self, batch: Sequence[_Waiting], why: Exception) -> None:
        if len(batch) > 1:
            log_event("looks-apart", level="warning", error=why, count=len(batch))
        for one in batch:
            try:
                (result,) = await self._apply([one.entry])
            except Exception as error:  # noqa: BLE001 - as above
                _fail([one], error)
            else:
                if not one.done.done():
                    one.done.set_result(result)

    async def _apply(self, entries: Sequence[Entry]) -> list[Result]:
        for pause in (*_PAUSES, None):
            try:
                async with self._database.write() as connection:
                    results = await apply(connection, entries, await now(connection), self._recent)
            except DatabaseUnavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                if self._recent is not None:
                    self._recent.keep(result.state for result in results)
                return results
        raise AssertionError("unreachable")


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.done.done():
            one.done.set_exception(error)
            one.done.exception()  # seen here: whoever asked may have left
