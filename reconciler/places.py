"""How many requests of one source are under way at once: all reconcilers share its places, through the database.

Whoever has work for a source says so, and gets its part of the places as soon as the others have left it. Nobody takes
what another holds: while parts change hands there are fewer requests than allowed, never more. Who is silent for long
is taken for dead, and holds nothing any more; who was silent for long starts nothing until it has spoken. So only what
a process had under way when it froze, or lost the database, may come on top of what is allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject
from reconciler import pauses
from reconciler.pace import NO_PART, Part
from reconciler.source import Source

# Who has not been heard of for so long, or for a lease if that is shorter, holds no place any more.
HERE_FOR = timedelta(seconds=5)
# How often in that time those who hold places, or want one, say that they are still there; who has had no work
# meanwhile leaves.
_SAID = 3.3
# Whoever seems to be there for longer than this has spoken before the clock was put back.
_CREDIBLE = timedelta(minutes=1)
# What cannot be divided goes to each in turn, for so many seconds.
_TURN = 10


@dataclass(slots=True)
class Places:
    """Who holds how many of a source's places, until when it is believed to be there (the database's clock), and
    whether it wants more; who does not is left what it has.

    `turn` counts on with time: whose turn it is gets what cannot be divided.
    """

    concurrency: int
    held: dict[str, tuple[datetime, int, bool]] = field(default_factory=dict)
    turn: int = 0

    @classmethod
    def of(cls, concurrency: int, kept: JsonObject | None, now: datetime) -> Self:
        """Read what the database holds, without those who have not been heard of for long."""
        every = cls.read(concurrency, kept).held
        here = {name: one for name, one in every.items() if now < one[0] <= now + _CREDIBLE}
        return cls(concurrency, here, int(now.timestamp()) // _TURN)

    @classmethod
    def read(cls, concurrency: int, kept: JsonObject | None) -> Self:
        """Read all that the database holds, whoever is there still."""
        every = {name: (datetime.fromisoformat(until), *told) for name, (until, *told) in (kept or {}).items()}
        return cls(concurrency, every)

    def as_json(self) -> JsonObject | None:
        """Return what the database is to hold; None is nobody."""
        return {name: [until.isoformat(), *told] for name, (until, *told) in sorted(self.held.items())} or None

    def part(self, holder: str) -> Part:
        """Return what a process may use now: its even part, as far as others have left it; 0 is possible."""
        whole = Part.whole(self.concurrency)
        others = [one for name, one in self.held.items() if name != holder]
        taken = sum(count for _, count, _ in others)
        to_share = self.concurrency - sum(count for _, count, wants in others if not wants)
        return Part(
            max(min(self._even(to_share, holder), self.concurrency - taken), 0),
            self._even(whole.retries, holder),
            self._even(whole.hints, holder),
        )

    def _even(self, total: int, holder: str) -> int:
        names = sorted({holder, *(name for name, (_, _, wants) in self.held.items() if wants)})
        each, left_over = divmod(total, len(names))
        return each + ((names.index(holder) + self.turn) % len(names) < left_over)

    def told(self, holder: str) -> tuple[int, bool] | None:
        """Return how many places others believe a process to hold, and whether to want more; None when to be gone."""
        return self.held[holder][1:] if holder in self.held else None

    def say(self, holder: str, count: int, until: datetime, *, wants: bool = True) -> None:
        """Note that a process is there, how many places it holds, and whether it wants more."""
        self.held[holder] = (until, count, wants)

    def leave(self, holder: str) -> None:
        """Note that a process wants no place any more."""
        self.held.pop(holder, None)


@dataclass(slots=True)
class Agreed:
    """What a transaction found: the part of each source that may be claimed of, those it wrote of, those it left.

    Without a part is a source of which nothing can be said just now: another process holds its lock.
    """

    parts: dict[str, Part]
    said: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)  # something was to be said of them, or asked


class Sharing:
    """This process's part of each source's places; `at` is always seconds of a monotonic clock.

    `agree` belongs to a transaction, and only lowers what this process uses; `agreed` comes after its commit. So
    whatever becomes of the transaction, no more is used than others have been told.
    """

    def __init__(self, sources: Mapping[str, Source], holder: str, lease: timedelta) -> None:
        self._sources = sources
        self._holder = holder
        self._here_for = min(HERE_FOR, lease)
        self.say_every = self._here_for / _SAID
        self._said: dict[str, float] = {}

    @property
    def here(self) -> list[str]:
        """The sources of which others believe that this process works on them."""
        return sorted(self._said)

    def late(self, at: float) -> set[str]:
        """Return the sources of which it is time to say again that this process is there, or that it leaves."""
        return {name for name, said in self._said.items() if at - said >= self.say_every.total_seconds()}

    def in_vain(self, name: str, kept: JsonObject | None, now: datetime, at: float) -> bool:
        """Whether there is nothing to do but wait: others hold every place, and have been told that we want one."""
        if name not in self._said or name in self.late(at):
            return False
        pace = self._sources[name].pace
        return pace.running == 0 and Places.of(pace.concurrency, kept, now).part(self._holder).places == 0

    async def agree(
        self,
        connection: AsyncConnection,
        asking: Collection[str],
        kept: Mapping[str, JsonObject | None],
        now: datetime,
        at: float,
    ) -> Agreed:
        """Take this process's part of the sources it asks for work of, and leave those it has had no work of lately.

        `kept` is what the database holds, read without a lock; what has to change is read again under one.
        """
        to_say = self.late(at) | {name for name in asking if self._differs(name, kept.get(name), now)}
        usable = {name for name in asking if name not in to_say or self._believed(name, at)}
        found = Agreed({name: self._sources[name].pace.part for name in usable})
        locked = await pauses.lock(connection, to_say)
        for name, row in locked.items():
            await self._say(connection, name, row.places, found, now, asks=name in asking)
        found.missed = to_say - locked.keys()
        return found

    async def _say(
        self,
        connection: AsyncConnection,
        name: str,
        kept: JsonObject | None,
        found: Agreed,
        now: datetime,
        *,
        asks: bool,
    ) -> None:
        pace = self._sources[name].pace
        places = Places.of(pace.concurrency, kept, now)
        part = places.part(self._holder)
        if not asks:  # it needs no more than for what it has begun
            part = replace(part, places=min(part.places, pace.begun))
        if asks or pace.begun:
            found.said.add(name)
            found.parts[name] = part
            pace.part = replace(part, places=min(part.places, pace.part.places))
            places.say(self._holder, max(part.places, pace.running), now + self._here_for, wants=asks)
        else:
            found.gone.add(name)
            pace.part = NO_PART
            places.leave(self._holder)
        await _write(connection, name, places)

    def agreed(self, found: Agreed, at: float) -> None:
        """Use what `agree` found, now that it is written down; `at` is from before that transaction began."""
        for name in found.said:
            self._said[name] = at
            pace = self._sources[name].pace
            pace.part = found.parts[name]
            pace.here_until = at + self._here_for.total_seconds()
        for name in found.gone:
            del self._said[name]

    async def leave(self, connection: AsyncConnection, name: str) -> None:
        """Give the places of one source back: this process ends. Waits for whoever has locked it."""
        for row in (await pauses.lock(connection, [name], wait=True)).values():
            places = Places.read(self._sources[name].pace.concurrency, row.places)
            places.leave(self._holder)
            await _write(connection, name, places)
        del self._said[name]

    def _differs(self, name: str, kept: JsonObject | None, now: datetime) -> bool:
        """Whether what others believe of this process is not what should be, or it uses another part than its own."""
        pace = self._sources[name].pace
        places = Places.of(pace.concurrency, kept, now)
        part = places.part(self._holder)
        told = places.told(self._holder)
        return name not in self._said or part != pace.part or told != (max(part.places, pace.running), True)

    def _believed(self, name: str, at: float) -> bool:
        return name in self._said and at < self._said[name] + self._here_for.total_seconds()


async def _write(connection: AsyncConnection, source: str, places: Places) -> None:
    changed = update(source_state).where(source_state.c.source == source).values(places=places.as_json())
    await connection.execute(changed)
