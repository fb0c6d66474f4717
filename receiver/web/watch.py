"""What has changed in the ledger, for everybody who follows it: one poll per process, however many listen.

A hint and not a log. It wakes whoever should look, and says what changed without a transition (progress, a repeated
delivery, attention, a pass); what happened is read by each from its own place (`ledger.happenings`), and each looks by
itself now and then. So nothing is lost by missing a hint, only late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import happenings, overview
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import Database, LedgerError
from receiver.ledger.database import now as database_now
from receiver.ledger.engines import DRIVER_ERRORS

EVERY = 0.3  # seconds between two polls
_MARKS_EVERY = 3  # polls
_AFTER_TROUBLE = 2.0
_MOST = 200  # workflows named in one piece of news; more are "everything"

Key = tuple[str, str]  # (source, workflow)


class News(NamedTuple):
    """What has changed: workflows by (source, id), whether it may be any of them, and what else, by name."""

    workflows: set[Key]
    everything: bool
    also: set[str]


@dataclass(slots=True, eq=False)
class Listener:
    """One who follows, and what has changed since it was last told. `source` and `workflow` narrow it down."""

    source: str | None = None
    workflow: str | None = None
    event: asyncio.Event = field(default_factory=asyncio.Event)
    _news: News = field(default_factory=lambda: News(set(), False, set()))

    def hear(self, news: News) -> None:
        """Take news in; what is not asked for does not wake anybody."""
        mine = {key for key in news.workflows if self._wants(key)}
        if not (mine or news.everything or news.also):
            return
        workflows = self._news.workflows | mine
        everything = self._news.everything or news.everything or len(workflows) > _MOST
        self._news = News(set() if everything else workflows, everything, self._news.also | news.also)
        self.event.set()

    def _wants(self, key: Key) -> bool:
        return self.source in (None, key[0]) and self.workflow in (None, key[1])

    def take(self) -> News:
        """Return what has changed, and begin anew."""
        found, self._news = self._news, News(set(), False, set())
        self.event.clear()
        return found


class Watch:
    """Polls while anybody listens."""

    def __init__(self, database: Database, *, every: float = EVERY) -> None:
        self._database, self._every = database, every
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def listening(self, source: str | None = None, workflow: str | None = None) -> Iterator[Listener]:
        """Listen while inside."""
        mine = Listener(source, workflow)
        self._listeners.add(mine)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll(), name="watch")
        try:
            yield mine
        finally:
            self._listeners.discard(mine)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _poll(self) -> None:
        seen = _Seen()
        while True:
            try:
                async with self._database.read() as connection:
                    news = await seen.news(connection)
            except (LedgerError, DBAPIError, *DRIVER_ERRORS):
                await asyncio.sleep(_AFTER_TROUBLE)  # whoever asks is told; here there is nobody to tell
                continue
            if news.workflows or news.everything or news.also:
                for one in self._listeners:
                    one.hear(news)
            await asyncio.sleep(self._every)


class _Seen:
    """How far one poll has seen: evidence, transitions, and the marks of all else."""

    def __init__(self) -> None:
        self._evidence: overview.Place | None = None
        self._happened: happenings.Place | None = None
        self._marks: dict[str, str] = {}
        self._turn = 0

    async def news(self, connection: AsyncConnection) -> News:
        if self._evidence is None or self._happened is None:
            self._evidence = await overview.newest_place(connection)
            self._happened = await happenings.present(connection, await database_now(connection))
            self._marks = await overview.marks(connection)
            return News(set(), True, set())  # whoever began to listen meanwhile may have missed something
        changed, self._evidence, more = await overview.changed_since(connection, self._evidence, _MOST)
        if not changed and not more:
            # Evidence that took long to be committed is not looked for; what it moved is.
            more = await self._has_happened(connection)
        if changed or more:
            self._happened = await happenings.present(connection, await database_now(connection))
        return News(changed, more, await self._also(connection))

    async def _has_happened(self, connection: AsyncConnection) -> bool:
        assert self._happened is not None
        try:
            told, _, _ = await happenings.following(connection, self._happened, await database_now(connection), limit=1)
        except BadCursor:  # another database is there now
            return True
        return bool(told)

    async def _also(self, connection: AsyncConnection) -> set[str]:
        self._turn += 1
        if self._turn % _MARKS_EVERY:
            return set()
        before, self._marks = self._marks, await overview.marks(connection)
        return {name for name, mark in self._marks.items() if before.get(name) != mark}
