"""What looks teach of how long workflows take: written down every few seconds, and read again for the next plans."""

from __future__ import annotations

import time
from collections.abc import Mapping

from receiver.ledger import learning
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Result
from receiver.logs import log_event
from reconciler.commit import TROUBLE
from reconciler.refetch import Asked
from reconciler.source import Source

_EVERY = 10.0


class Teacher:
    """Gathers what this process sees end, and keeps its sources' `Policy.learned` as of a few seconds ago."""

    def __init__(self, database: Database, sources: Mapping[str, Source]) -> None:
        self._database = database
        self._sources = sources
        self._lessons = learning.Lessons()
        self._read_at: float | None = None

    def note(self, asked: Asked, result: Result) -> None:
        """Take in the result of a look, if it is the one that confirmed an ending.

        What a delivery confirmed by itself, meanwhile, the receiver has taken in.
        """
        state = result.state
        if state is None or result.stale or state.node.confirmed_at is None:
            return
        node = state.node
        by_itself = node.finished_via == "delivery" and node.finished_at == node.confirmed_at
        if state.node.confirmed_at >= asked.entry.at and not by_itself:
            self._lessons.note(state)

    async def refresh(self) -> None:
        """Write and read, if it is time. Raises one of commit.TROUBLE."""
        at = time.monotonic()
        if self._read_at is not None and at - self._read_at < _EVERY:
            return
        await self._write()
        async with self._database.read() as connection:
            known = await learning.read(connection, self._sources)
        for name, source in self._sources.items():
            source.policy.learned.refresh(known[name])
        self._read_at = at

    async def close(self) -> None:
        """Write what is left. That it could not be written costs nobody anything but a little knowledge."""
        try:
            await self._write()
        except TROUBLE as error:
            log_event("lessons-lost", level="warning", error=error)

    async def _write(self) -> None:
        lessons = self._lessons.taken()
        if lessons:
            async with self._database.write() as connection:
                await learning.write(connection, lessons, await now(connection))
