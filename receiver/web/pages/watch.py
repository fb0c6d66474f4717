"""What has changed in the ledger, for everybody who has a page open: one poll per process, however many listen.

A hint and not a log: a page that hears of a change asks for itself again, and one that was away does so when it comes
back. So nothing is lost by missing a hint, only late; every half minute each page is renewed in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from receiver.ledger import overview
from receiver.ledger.database import Database, LedgerError
from receiver.ledger.engines import DRIVER_ERRORS

EVERY = 0.3  # seconds between two polls
_AFTER_TROUBLE = 2.0
_MOST = 200  # workflows named in one piece of news; more are "everything"
MOST_LISTENERS = 500


class TooManyListeners(Exception):
    """So many pages are open already that this one stays as it is until it is loaded again."""


@dataclass(slots=True, eq=False)
class Listener:
    """One open page: what has changed since it was last told."""

    workflows: set[tuple[str, str]] = field(default_factory=set)
    everything: bool = False
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, changed: set[tuple[str, str]], *, everything: bool) -> None:
        """Take news in."""
        self.workflows |= changed
        self.everything = self.everything or everything or len(self.workflows) > _MOST
        if self.everything:
            self.workflows.clear()
        self.event.set()

    def take(self) -> tuple[list[tuple[str, str]], bool]:
        """Return (workflows that changed, whether it may be anything), and begin anew."""
        found = sorted(self.workflows), self.everything
        self.workflows, self.everything = set(), False
        self.event.clear()
        return found


class Watch:
    """Polls while anybody listens."""

    def __init__(self, database: Database, *, every: float = EVERY) -> None:
        self._database, self._every = database, every
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Listen while inside. Raises TooManyListeners."""
        if len(self._listeners) >= MOST_LISTENERS:
            raise TooManyListeners
        mine = Listener()
        self._listeners.add(mine)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll(), name="dashboard watch")
        try:
            yield mine
        finally:
            self._listeners.discard(mine)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _poll(self) -> None:
        place: overview.Place | None = None
        while True:
            try:
                async with self._database.read() as connection:
                    if place is None:
                        place = await overview.newest_place(connection)
                    changed, place, more = await overview.changed_since(connection, place, _MOST)
            except (LedgerError, DBAPIError, *DRIVER_ERRORS):
                await asyncio.sleep(_AFTER_TROUBLE)  # whoever asks for a page is told; here there is nobody to tell
                continue
            if changed or more:
                for one in self._listeners:
                    one.hear(changed, everything=more)
            await asyncio.sleep(self._every)
