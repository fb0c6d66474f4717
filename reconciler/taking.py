"""Claiming for this process: what there is room for, by its own pace and by what all processes share of a source."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Budget
from receiver.ledger.database import Database, now
from receiver.ledger.recent import Recent
from reconciler import budgets as counting
from reconciler import claiming, pauses
from reconciler.budgets import Counted, RequestLog
from reconciler.claiming import Task
from reconciler.clock import LedgerClock
from reconciler.errands import Errand, counted, errands_of
from reconciler.pace import Part, Slots
from reconciler.places import Sharing
from reconciler.source import Source

# How often, and how far apart, a claim is tried again while another process has a source locked.
_CONTESTED = 5
_A_MOMENT = 0.05


@dataclass(frozen=True, slots=True)
class Over:
    """A request of a source's budget that is over, by the token of its claim; `sent` False: it was not made at all."""

    token: str
    hint: bool
    sent: bool


@dataclass(frozen=True, slots=True)
class Took:
    """What a claim brought: what to send, the ledger's time of the claim, and how many checks were dealt with."""

    errands: Sequence[Errand]
    at: datetime
    count: int


class Claims:
    """What this process holds, and what it may claim. Sources are locked one after the other, by name.

    `waiting` says whether the last claim left something for now: others hold all places, or the lock of its source.
    """

    def __init__(
        self,
        database: Database,
        sources: Mapping[str, Source],
        clock: LedgerClock,
        holder: str,
        lease: timedelta,
        recent: Recent,
    ) -> None:
        self._database = database
        self._sources = sources
        self._clock = clock
        self._holder = holder
        self._lease = lease
        self._recent = recent
        self._over: dict[str, list[Over]] = {}
        self._number = 0
        self._sharing = Sharing(sources, holder, lease)
        self.waiting = False

    async def take(self, *, most: int | None, untried_since: datetime | None) -> Took:
        """Claim what is due and there is room for; the caller sends it at once.

        `most` bounds the checks; `untried_since` also takes what is not due yet (`checks.claim`). Reads first, so that
        an idle reconciler writes nothing: on SQLite whoever writes keeps all others waiting. Raises one of
        commit.TROUBLE when the database is in trouble; nothing has been claimed then.
        """
        for _ in range(_CONTESTED):
            took, contested = await self._take_once(most, untried_since)
            if took.count or not contested:
                break
            await asyncio.sleep(_A_MOMENT)
        else:
            self.waiting = True
        return took

    @property
    def stays_every(self) -> timedelta:
        """How often `stay` is to be called by who claims nothing more and has requests under way."""
        return self._sharing.say_every

    async def stay(self) -> None:
        """Say that this process is still there, and claim nothing. Raises one of commit.TROUBLE."""
        await self._take_once(0, None)

    async def _take_once(self, most: int | None, untried_since: datetime | None) -> tuple[Took, bool]:
        """Claim once; returns also whether another process held the lock of a source just then."""
        at = time.monotonic()
        wanted = set(self._slots(self._sources, most, {}))
        late = self._sharing.late(at)
        self.waiting = False
        if not wanted and not late:
            return Took((), self._clock.now(), 0), False
        lanes: Mapping[str, Collection[str]] = {}
        if wanted:
            wanted, lanes = await self._promising(wanted, untried_since, at)
        over = {name: tuple(ended) for name, ended in self._over.items() if ended}
        if not wanted and not over and not late:
            return Took((), self._clock.now(), 0), False
        async with self._database.write() as connection:
            reading = await now(connection)
            self._clock.set(reading)
            budgets = self._budgets({*wanted, *over})
            logs = await counting.lock(connection, budgets)
            _settle(logs, over, reading)
            contested = budgets.keys() - logs.keys()
            facts = await pauses.facts_of(connection, {*wanted, *late})
            names, probes = await self._unpaused(connection, wanted - contested, facts, reading)
            kept = {name: fact.places for name, fact in facts.items()}
            found = await self._sharing.agree(connection, names, kept, reading, at)
            contested |= found.missed
            slots = self._within(found.parts, names, probes, most)
            slots = {name: _allowed(one, logs.get(name), reading) for name, one in slots.items()}
            if most is not None:
                slots = _shared(slots, most)
            errands, taken = await self._claim(connection, slots, probes, reading, lanes, untried_since)
            await self._reserve(connection, logs, errands, over, reading)
        self._sharing.agreed(found, at)
        for name in over.keys() & logs.keys():
            del self._over[name][: len(over[name])]
        return Took(errands, reading, taken), bool(contested)

    def _slots(self, names: Iterable[str], most: int | None, parts: Mapping[str, Part]) -> dict[str, Slots]:
        """Return what may be claimed by this process's own pace; `parts` are the places it has from now on."""
        at = time.monotonic()
        slots = {name: self._sources[name].slots(at, parts.get(name)) for name in names}
        if most is not None:
            # Each request answers for one check then, so that the number holds.
            slots = {name: replace(one.at_most(most), bulk=1) for name, one in slots.items()}
        return {name: one for name, one in slots.items() if one.total > 0}

    def _within(
        self, parts: Mapping[str, Part], names: Collection[str], probes: Collection[str], most: int | None
    ) -> dict[str, Slots]:
        """Return what may be claimed of sources now that this process's part of their places is known."""
        mine = {name: part for name, part in parts.items() if name in names}
        some = [name for name, part in mine.items() if part.places > 0]
        self.waiting |= len(some) < len(mine)
        slots = self._slots(some, most, mine)
        return {name: replace(one.at_most(1), bulk=1) if name in probes else one for name, one in slots.items()}

    async def _promising(
        self, names: Collection[str], untried_since: datetime | None, at: float
    ) -> tuple[set[str], dict[str, set[str]]]:
        """Leave out the sources that nothing can be claimed of, as far as can be told without a lock.

        Returns also which lanes have something due, by source.
        """
        async with self._database.read() as connection:
            reading = await now(connection)
            due = await claiming.due_lanes(connection, names, reading, untried_since)
            facts = await pauses.facts_of(connection, due)
            budgets = self._budgets(due.keys())
            logs = await counting.read(connection, budgets) if budgets else {}
        nothing = pauses.SourceFacts()
        promising: set[str] = set()
        for name, lanes in due.items():
            fact = facts.get(name, nothing)
            if not fact.open(reading) or not _has_room(logs.get(name), lanes, reading):
                continue
            if self._sharing.in_vain(name, fact.places, reading, at):
                self.waiting = True
            else:
                promising.add(name)
        return promising, due

    async def _claim(
        self,
        connection: AsyncConnection,
        slots: Mapping[str, Slots],
        probes: set[str],
        at: datetime,
        lanes: Mapping[str, Collection[str]],
        untried_since: datetime | None,
    ) -> tuple[list[Errand], int]:
        """Claim checks and decide on them; returns what to send, and how many checks were dealt with."""
        claims = await claiming.claim_due(
            connection, at, holder=self._holder, lease=self._lease, slots=slots, lanes=lanes,
            untried_since=untried_since,
        )  # fmt: skip
        policies = {name: source.policy for name, source in self._sources.items()}
        tasks = await claiming.plan_claims(
            connection, claims, policies, at, at_once=untried_since is not None, recent=self._recent
        )
        for name in probes - {task.claim.source for task in tasks}:
            await pauses.release_probe(connection, name, at)
        errands: list[Errand] = []
        surplus: list[Task] = []
        self._number += 1
        for name in sorted({task.claim.source for task in tasks}):
            source = self._sources[name]
            mine = [task for task in tasks if task.claim.source == name]
            token = f"{self._holder}#{self._number}" if source.budget is not None else ""
            found, left = errands_of(mine, slots[name], token=token, probe=name in probes)
            source.alone_first = any(len(errand.tasks) > 1 for errand in found)
            errands += found
            surplus += left
        await claiming.put_back(connection, [task.claim for task in surplus])
        return errands, len(claims) - len(surplus)

    async def _reserve(
        self,
        connection: AsyncConnection,
        logs: Mapping[str, RequestLog],
        errands: Sequence[Errand],
        over: Mapping[str, object],
        at: datetime,
    ) -> None:
        """Count what is about to be sent, and write down what has changed since the last time."""
        for name, log in logs.items():
            mine = [errand for errand in errands if errand.source == name]
            if mine:
                log.reserve(mine[0].token, counted(mine), at + counting.SEND_WITHIN + self._sources[name].item)
            if mine or name in over:
                await counting.save(connection, name, log, at)

    async def _unpaused(
        self,
        connection: AsyncConnection,
        names: Collection[str],
        facts: Mapping[str, pauses.SourceFacts],
        at: datetime,
    ) -> tuple[set[str], set[str]]:
        """Leave out sources that want to be left alone; returns also those that may only be probed."""
        left: set[str] = set()
        probes: set[str] = set()
        for name in sorted(names):
            fact = facts.get(name, pauses.SourceFacts())
            source = self._sources[name]
            source.offset_known = fact.clock_offset
            if source.held == 0:  # else this process knows better, and is about to say so
                source.because = fact.because
            source.health.believed_until = fact.believed_until
            if fact.busy(at):
                continue
            if fact.paused:
                if not fact.may_probe(at):
                    continue
                wait = source.probe_after(fact.because or "", fact.probes_failed + 1)
                if not await pauses.reserve_probe(connection, name, at, wait):
                    continue
                probes.add(name)
            left.add(name)
        return left, probes

    async def return_unsent(self, errands: Sequence[Errand]) -> None:
        """Give back what was claimed and did not get its place soon enough: another process may be faster."""
        async with self._database.write() as connection:
            await claiming.put_back(connection, [task.claim for errand in errands for task in errand.tasks])
        for errand in errands:
            if errand.token and errand.sends:
                self.over(errand.source, errand.token, hint=errand.hint, sent=False)

    def over(self, source: str, token: str, *, hint: bool, sent: bool) -> None:
        """Note that a request of a source's budget is over; the next claim, or the end, counts it as such."""
        self._over.setdefault(source, []).append(Over(token, hint, sent))

    async def may_send(self, connection: AsyncConnection, source: str, token: str, at: datetime) -> bool:
        """Count one request for somebody who waits; False when upstream may not be sent one just now."""
        fact = (await pauses.facts_of(connection, [source])).get(source)
        self._sources[source].because = fact.because if fact is not None else None
        if fact is not None and fact.busy(at):
            return False
        budget = self._sources[source].budget
        if budget is None:
            return True
        log = (await counting.lock(connection, {source: budget}, wait=True))[source]
        if log.allowance(at).requests < 1:
            return False
        log.reserve(token, Counted(1, 0), at + counting.SEND_WITHIN + self._sources[source].item)
        await counting.save(connection, source, log, at)
        return True

    async def close(self, *, give_back: bool) -> None:
        """Count what is over, give back every lease of this process if there are any left, and leave its places."""
        over = {name: tuple(ended) for name, ended in self._over.items() if ended}
        if give_back or over:
            async with self._database.write() as connection:
                reading = await now(connection)
                logs = await counting.lock(connection, self._budgets(over), wait=True)
                _settle(logs, over, reading)
                await self._reserve(connection, logs, (), over, reading)
                if give_back:
                    await claiming.give_back(connection, self._holder)
            self._over.clear()
        for name in self._sharing.here:  # one by one: who waits for one and holds none locks nobody out
            async with self._database.write() as connection:
                await self._sharing.leave(connection, name)

    def _budgets(self, names: Collection[str]) -> dict[str, Budget]:
        return {name: budget for name in names if (budget := self._sources[name].budget) is not None}


def _settle(logs: Mapping[str, RequestLog], over: Mapping[str, Sequence[Over]], at: datetime) -> None:
    for name, log in logs.items():
        for one in over.get(name, ()):
            log.settle(one.token, hint=one.hint, sent=one.sent, now=at)


def _allowed(slots: Slots, log: RequestLog | None, at: datetime) -> Slots:
    if log is None:
        return slots
    allowance = log.allowance(at)
    slots = slots.at_most(allowance.requests, allowance.hints)
    return replace(slots, kept=min(allowance.kept, slots.total))


def _has_room(log: RequestLog | None, lanes: Collection[str], at: datetime) -> bool:
    """Whether a source's budget has room for something that is due on these lanes."""
    if log is None:
        return True
    allowance = log.allowance(at)
    free = allowance.requests - allowance.kept
    return (
        (allowance.requests > 0 and "interactive" in lanes)
        or (free > 0 and bool(set(lanes) - {"interactive", "hints"}))
        or (min(free, allowance.hints) > 0 and "hints" in lanes)
    )


def _shared(slots: Mapping[str, Slots], most: int) -> dict[str, Slots]:
    """Give out `most` places among the sources, the first by name first."""
    given: dict[str, Slots] = {}
    for name, one in sorted(slots.items()):
        given[name] = one.at_most(most)
        most -= given[name].total
    return given
