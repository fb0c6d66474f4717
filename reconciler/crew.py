"""The looks under way in this process: claims become tasks, tasks become evidence, answers set the pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Answer, Result
from receiver.logs import log_event
from receiver.redaction import Redactor
from reconciler import claiming, pauses
from reconciler.claiming import Task
from reconciler.clock import LedgerClock
from reconciler.commit import TROUBLE, Committer
from reconciler.pace import Slots
from reconciler.passes import PassReport
from reconciler.plan import GiveUp, Relink
from reconciler.refetch import Asked, ask
from reconciler.source import Source

_OFFSET_EVERY = timedelta(minutes=1)
# Answers that show upstream took our key; a gateway that is busy may not have looked at it.
_LET_IN = (Answer.SHOWN, Answer.GONE, Answer.REFUSED, Answer.UNREADABLE)


class Crew:
    """Claims checks of the configured sources and works on them. Use as `async with`; `close` waits for nobody.

    `report` counts what was done. `stirred` is set whenever a look ends, so that its place can be taken.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        redactor: Redactor,
        report: PassReport,
        sources: Iterable[str] | None = None,
    ) -> None:
        self.holder = claiming.holder_name()
        self.clock = LedgerClock()
        self.stirred = asyncio.Event()
        self.report = report
        self._database = database
        self._redactor = redactor
        self._lease = config.server.lease
        names = sorted(config.sources if sources is None else set(sources))
        self.sources = {name: Source.of(config, name, self.clock) for name in names}
        self._committer = Committer(database)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for source in self.sources.values():
            await self._stack.enter_async_context(source.transport)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dismiss(timedelta(0))
        await self._stack.aclose()

    @property
    def busy(self) -> int:
        """How many looks are under way."""
        return len(self._tasks)

    async def claim(self, *, most: int | None = None, untried_since: datetime | None = None) -> int:
        """Claim what is due and there is room for, and start on it; returns how many checks were taken.

        `most` bounds that number; `untried_since` also takes what is not due yet (`checks.claim`). Reads first, so that
        an idle reconciler writes nothing: on SQLite whoever writes keeps all others waiting. Raises one of
        commit.TROUBLE when the database is in trouble; nothing has been claimed then.
        """
        at = time.monotonic()
        slots = {name: _at_most(source.pace.slots(at), most) for name, source in self.sources.items()}
        slots = {name: one for name, one in slots.items() if one.total > 0}
        if slots and untried_since is None:
            async with self._database.read() as connection:
                reading = await now(connection)
                due = await claiming.due_sources(connection, slots, reading)
                facts = await pauses.facts_of(connection, due)
            paused = {name for name, fact in facts.items() if fact.paused and not fact.may_probe(reading)}
            slots = {name: one for name, one in slots.items() if name in due - paused}
        if not slots:
            return 0
        async with self._database.write() as connection:
            reading = await now(connection)
            self.clock.set(reading)
            slots, probes = await self._unpaused(connection, slots, reading)
            if most is not None:
                slots = _shared(slots, most)
            claims = await claiming.claim_due(
                connection,
                reading,
                holder=self.holder,
                lease=self._lease,
                slots=slots,
                untried_since=untried_since,
            )
            policies = {name: source.policy for name, source in self.sources.items()}
            at_once = untried_since is not None
            tasks = await claiming.plan_claims(connection, claims, policies, reading, at_once=at_once)
            for name in probes - {task.claim.source for task in tasks}:
                await pauses.release_probe(connection, name, reading)
        for task in tasks:
            self.start(task, reading, probe=task.claim.source in probes)
        return len(claims)

    async def _unpaused(
        self, connection: AsyncConnection, slots: Mapping[str, Slots], at: datetime
    ) -> tuple[dict[str, Slots], set[str]]:
        """Leave out sources whose key is refused, except for the one check that probes it."""
        facts = await pauses.facts_of(connection, slots)
        open_slots: dict[str, Slots] = {}
        probes: set[str] = set()
        for name, one in sorted(slots.items()):
            fact = facts.get(name, pauses.SourceFacts())
            source = self.sources[name]
            source.paused, source.offset_known = fact.paused, fact.clock_offset
            if not fact.paused:
                open_slots[name] = one
            elif fact.may_probe(at) and await pauses.reserve_probe(connection, name, at):
                probes.add(name)
                open_slots[name] = _at_most(one, 1)
        return open_slots, probes

    def start(self, task: Task, at: datetime, *, probe: bool = False) -> None:
        """Work on a claimed check; `at` is the ledger's time of the claim. `probe`: its source was paused then."""
        source = self.sources[task.claim.source]
        source.pace.started(time.monotonic(), hint=task.hint, retry=task.retry)
        running = asyncio.create_task(self.look(task, at, probe=probe))
        self._tasks.add(running)
        running.add_done_callback(lambda done: self._ended(source, task, done))

    def _ended(self, source: Source, task: Task, running: asyncio.Task[Any]) -> None:
        self._tasks.discard(running)
        source.pace.ended(hint=task.hint, retry=task.retry)
        self.stirred.set()
        if not running.cancelled() and running.exception() is not None:
            log_event("look-broken", level="error", error=running.exception(), source=source.name, id=task.claim.id)

    async def look(self, task: Task, at: datetime, *, probe: bool) -> tuple[Asked, Result | None]:
        """Make one try and put its answer into the ledger; the result is None when that could not be written."""
        source = self.sources[task.claim.source]
        asked = await ask(source, task, self._redactor, at)
        self._count(task, asked)
        if asked.status == 429:
            asked_to_wait = asked.entry.look.retry_after if asked.entry.look is not None else None
            source.pace.pause(time.monotonic(), asked_to_wait or 0.0)
        try:
            result = await self._committer.commit(asked.entry)
            await self._learn(source, asked, probe=probe)
        except TROUBLE as error:
            # The lease runs out by itself, and whoever comes next asks again.
            self.report.counts["lost"] += 1
            log_event("look-not-written", level="error", error=error, source=source.name, id=task.claim.id)
            return asked, None
        self.report.counts["stale"] += result.stale
        self.report.counts["created"] += result.created
        if result.stale:
            log_event("look-too-late", level="warning", source=source.name, id=task.claim.id)
        return asked, result

    def _count(self, task: Task, asked: Asked) -> None:
        counts = self.report.counts
        counts[str(asked.answer)] += 1
        if isinstance(task.plan, GiveUp):
            counts["gave_up"] += 1
        else:
            counts["looks"] += 1
        counts["relinks"] += isinstance(task.plan, Relink)

    async def _learn(self, source: Source, asked: Asked, *, probe: bool) -> None:
        """Keep what an answer says of its whole source: the key is refused, is taken again, the clock is off."""
        refused = asked.answer is Answer.CREDENTIALS and not source.paused
        let_in = probe and asked.answer in _LET_IN  # an answer to what was sent before the pause proves nothing
        offset = source.offset.worth_writing(source.offset_known)
        at = self.clock.now()
        if source.offset_written_at is not None and at - source.offset_written_at < _OFFSET_EVERY:
            offset = None
        if not refused and not let_in and offset is None:
            return
        source.paused = refused or (source.paused and not let_in)
        if offset is not None:
            source.offset_known, source.offset_written_at = offset, at
        # A transaction of its own: looks lock workflows first, and claims lock sources first.
        async with self._database.write() as connection:
            if refused:
                await pauses.pause(connection, source.name, asked.entry.problem or "", await now(connection))
                log_event("source-paused", level="error", source=source.name, message=asked.entry.problem)
            elif let_in:
                await pauses.resume(connection, source.name, await now(connection))
                log_event("source-resumed", source=source.name)
            if offset is not None:
                await pauses.note_clock(connection, source.name, offset)

    async def dismiss(self, grace: timedelta) -> None:
        """Let what is under way end within `grace`, cancel the rest, and give its leases back if that is possible."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace.total_seconds())
        left = list(self._tasks)
        for running in left:
            running.cancel()
        if left:
            await asyncio.wait(left)
        await self._committer.close()
        if left:
            try:
                async with self._database.write() as connection:
                    await claiming.give_back(connection, self.holder)
            except TROUBLE as error:
                log_event("leases-kept", level="warning", error=error, holder=self.holder, count=len(left))


def _at_most(slots: Slots, most: int | None) -> Slots:
    if most is None or slots.total <= most:
        return slots
    return Slots(max(most, 0), min(slots.retries, most), min(slots.hints, most), min(slots.earned, most))


def _shared(slots: Mapping[str, Slots], most: int) -> dict[str, Slots]:
    """Give out `most` places among the sources, the first by name first."""
    given: dict[str, Slots] = {}
    for name, one in sorted(slots.items()):
        given[name] = _at_most(one, most)
        most -= given[name].total
    return given
