"""Asking upstream when nobody waits for the answer: backfill and audit, behind everything that is due.

They share the source's budget and its pauses with all reconcilers, and take of them what is left over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from receiver.ledger.database import Database, now
from receiver.ledger.schedule import TRIES
from receiver.logs import log_event, without_query
from receiver.providers.base import CredentialsRefused, ProviderError, Request, Response, UpstreamBusy
from reconciler import budgets, pauses
from reconciler.budgets import SEND_WITHIN, Counted
from reconciler.pace import backoff, within_cap
from reconciler.source import Source

_T = TypeVar("_T")

# Half of a budget is left to what is due, until this many seconds have gone by: then any request that is free will do.
PATIENCE = 20.0
_TURN = 0.25  # seconds between looks at what is left
_TOO_MANY = 429


class Stopped(Exception):
    """Told to stop before the answer was there."""


class Unhurried:
    """One source, asked one request at a time. `source.transport` must be open; `stop` ends every wait."""

    def __init__(self, database: Database, source: Source, holder: str, stop: asyncio.Event | None = None) -> None:
        self._database, self._source, self._holder = database, source, holder
        self._stop = stop or asyncio.Event()
        self._number = 0

    async def ask(self, request: Request, read: Callable[[Response], _T]) -> tuple[Response, _T]:
        """Send a request when there is room for it, and return the answer with what `read` makes of it.

        An upstream that is busy is tried again a few times. Raises what `read` raises (by fault), ElsewhereRefused,
        Stopped, LedgerError and SQLAlchemyError; CredentialsRefused also, unasked, while the source is paused.
        """
        for attempt in range(1, TRIES + 1):
            token = await self._room()
            try:
                return await self._send(request, read, token)
            except UpstreamBusy as busy:
                wait = max(backoff(attempt, self._source.rng), within_cap(busy.retry_after) or 0.0)
                if busy.status == _TOO_MANY:
                    async with self._database.write() as connection:
                        until = await now(connection) + timedelta(seconds=wait)
                        await pauses.note_busy(connection, self._source.name, until)
                if attempt == TRIES:
                    raise
                await self._wait(wait)
        raise AssertionError("the last try either returns or raises")

    async def _send(self, request: Request, read: Callable[[Response], _T], token: str) -> tuple[Response, _T]:
        source, began, said, status = self._source, time.monotonic(), None, None
        try:
            response = await source.transport.send(request)
            status = response.status
            return response, read(response)
        except CredentialsRefused as error:
            said = str(error)
            async with self._database.write() as connection:
                await pauses.pause(connection, source.name, said, await now(connection))
            raise
        except ProviderError as error:
            said = str(error)
            raise
        finally:
            await self._settle(token)
            log_event(
                "unhurried",
                source=source.name,
                method=request.method,
                url=without_query(request.url.partition("#")[0]),
                status=status,
                ms=round((time.monotonic() - began) * 1000, 1),
                message=said,
            )

    async def _room(self) -> str:
        """Wait until one request may be sent, and count it; returns what it is counted under."""
        began = time.monotonic()
        while not self._stop.is_set():
            async with self._database.read() as connection:
                at = await now(connection)
                fact = (await pauses.facts_of(connection, [self._source.name])).get(self._source.name)
            if fact is not None and fact.paused:
                raise CredentialsRefused("the source is paused: upstream refuses its key")
            if fact is None or not fact.busy(at):
                token = await self._reserve(time.monotonic() - began)
                if token is not None:
                    return token
            await self._wait(_TURN)
        raise Stopped

    async def _reserve(self, waited: float) -> str | None:
        """Count one request of the budget, None when there is none to spare."""
        source, budget = self._source, self._source.budget
        if budget is None:
            return ""
        spare = 0 if waited >= PATIENCE else budget.requests // 2
        async with self._database.write() as connection:
            at = await now(connection)
            log = (await budgets.lock(connection, {source.name: budget})).get(source.name)
            if log is None:
                return None
            allowance = log.allowance(at)
            if allowance.requests - max(allowance.kept, spare) < 1:
                return None
            self._number += 1
            token = f"{self._holder}~{self._number}"
            log.reserve(token, Counted(1, 0), at + SEND_WITHIN + source.item)
            await budgets.save(connection, source.name, log, at)
            source.clock.set(at)
        return token

    async def _settle(self, token: str) -> None:
        budget = self._source.budget
        if budget is None or not token:
            return
        async with self._database.write() as connection:
            at = await now(connection)
            log = (await budgets.lock(connection, {self._source.name: budget}, wait=True))[self._source.name]
            log.settle(token, hint=False, sent=True, now=at)
            await budgets.save(connection, self._source.name, log, at)

    async def _wait(self, seconds: float) -> None:
        """Return after that many seconds. Raises Stopped as soon as it is told to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Stopped
