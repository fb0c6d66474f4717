"""How many requests of one source are under way at once: all reconcilers share its places, through the database.

Whoever has work for a source says so, and gets its part of the places as soon as the others have left it. Nobody takes
what another holds: while parts change hands there are fewer requests than allowed, never more. Who is silent for long
has been killed, and holds nothing any more; who notices that it was silent for long starts nothing until it has spoken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject
from reconciler import pauses
from reconciler.source import Source

# Who has not been heard of for so long holds no place any more.
HERE_FOR = timedelta(seconds=5)
# How often those who hold places, or want one, say that they are still there; who has had no work meanwhile leaves.
SAID_EVERY = timedelta(seconds=1.5)
_ALL_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Places:
    """Who holds how many of a source's places, and until when it is believed to be there (the database's clock)."""

    concurrency: int
    held: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, concurrency: int, kept: JsonObject | None, now: datetime) -> Self:
        """Read what the database holds, without those who have not been heard of for long."""
        every = {name: (datetime.fromisoformat(until), count) for name, (until, count) in (kept or {}).items()}
        return cls(concurrency, {name: one for name, one in every.items() if one[0] > now})

    def as_json(self) -> JsonObject | None:
        """Return what the database is to hold; None is nobody."""
        return {name: [until.isoformat(), count] for name, (until, count) in sorted(self.held.items())} or None

    def part(self, holder: str) -> int:
        """Return how many places a process may use now: its even part, as far as others have left it; 0 is possible."""
        names = sorted({*self.held, holder})
        each, left_over = divmod(self.concurrency, len(names))
        even = each + (names.index(holder) < left_over)
        taken = sum(count for name, (_, count) in self.held.items() if name != holder)
        return max(min(even, self.concurrency - taken), 0)

    def told(self, holder: str) -> int | None:
        """Return how many places others believe a process to hold, None when they do not know of it."""
        return self.held[holder][1] if holder in self.held else None

    def say(self, holder: str, count: int, now: datetime) -> None:
        """Note that a process is there, and how many places it holds."""
        self.held[holder] = (now + HERE_FOR, count)

    def leave(self, holder: str) -> None:
        """Note that a process wants no place any more."""
        self.held.pop(holder, None)


@dataclass(slots=True)
class Settled:
    """What a transaction found: the part of each source that may be claimed of, those it wrote of, those it left.

    Without a part is a source of which nothing can be said just now: another process holds its lock.
    """

    parts: dict[str, int]
    said: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)


class Sharing:
    """This process's part of each source's places; `at` is always seconds of a monotonic clock.

    `settle` belongs to a transaction, and only lowers what this process uses; `settled` comes after its commit. So
    whatever becomes of the transaction, no more is used than others have been told.
    """

    def __init__(self, sources: Mapping[str, Source], holder: str) -> None:
        self._sources = sources
        self._holder = holder
        self._said: dict[str, float] = {}

    @property
    def here(self) -> bool:
        """Whether others believe this process to be there."""
        return bool(self._said)

    def late(self, at: float) -> set[str]:
        """Return the sources of which it is time to say again that this process is there, or that it leaves."""
        return {name for name, said in self._said.items() if at - said >= SAID_EVERY.total_seconds()}

    def in_vain(self, name: str, kept: JsonObject | None, now: datetime, at: float) -> bool:
        """Whether there is nothing to do but wait: others hold every place, and have been told that we want one."""
        if name not in self._said or name in self.late(at):
            return False
        pace = self._sources[name].pace
        return pace.running == 0 and Places.of(pace.concurrency, kept, now).part(self._holder) == 0

    async def settle(
        self,
        connection: AsyncConnection,
        asking: Collection[str],
        kept: Mapping[str, JsonObject | None],
        now: datetime,
        at: float,
    ) -> Settled:
        """Take this process's part of the sources it asks for work of, and leave those it has had no work of lately.

        `kept` is what the database holds, read without a lock; what has to change is read again under one.
        """
        to_say = self.late(at) | {name for name in asking if self._differs(name, kept.get(name), now)}
        usable = {name for name in asking if name not in to_say or self._believed(name, at)}
        found = Settled({name: self._sources[name].pace.places for name in usable})
        for name, row in (await pauses.lock(connection, to_say)).items():
            pace = self._sources[name].pace
            places = Places.of(pace.concurrency, row.places, now)
            if name in asking or not pace.idle:
                found.said.add(name)
                found.parts[name] = part = places.part(self._holder)
                pace.places = min(pace.places, part)
                places.say(self._holder, max(part, pace.running), now)
            else:
                found.left.add(name)
                places.leave(self._holder)
            await _write(connection, name, places)
        return found

    def settled(self, found: Settled, at: float) -> None:
        """Use what `settle` found, now that it is written down; `at` is from before that transaction began."""
        for name in found.said:
            self._said[name] = at
            pace = self._sources[name].pace
            pace.places = found.parts[name]
            pace.believed_until = at + HERE_FOR.total_seconds()
        for name in found.left:
            del self._said[name]

    async def leave(self, connection: AsyncConnection) -> None:
        """Give every place back: this process ends."""
        for name, row in (await pauses.lock(connection, self._said, wait=True)).items():
            places = Places.of(self._sources[name].pace.concurrency, row.places, _ALL_TIME)
            places.leave(self._holder)
            await _write(connection, name, places)
        self._said.clear()

    def _differs(self, name: str, kept: JsonObject | None, now: datetime) -> bool:
        """Whether what others believe of this process is not what should be, or it uses another part than its own."""
        pace = self._sources[name].pace
        places = Places.of(pace.concurrency, kept, now)
        part = places.part(self._holder)
        return name not in self._said or part != pace.places or places.told(self._holder) != max(part, pace.running)

    def _believed(self, name: str, at: float) -> bool:
        return name in self._said and at < self._said[name] + HERE_FOR.total_seconds()


async def _write(connection: AsyncConnection, source: str, places: Places) -> None:
    changed = update(source_state).where(source_state.c.source == source).values(places=places.as_json())
    await connection.execute(changed)
