"""The looks under way in this process: claims become tasks, tasks become evidence, answers set the pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from receiver.config import Config
from receiver.ledger.database import Database
from receiver.ledger.entries import Answer, Result
from receiver.ledger.recent import Recent
from receiver.logs import log_event
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider
from receiver.redaction import Redactor
from reconciler import claiming, keys
from reconciler.claiming import Task
from reconciler.clock import LedgerClock
from reconciler.collecting import Copies
from reconciler.commit import MOST, TROUBLE, Committer
from reconciler.errands import Errand
from reconciler.judging import judge, learn
from reconciler.many import AskedMany, ask_many
from reconciler.passes import PassReport
from reconciler.plan import GiveUp, Relink
from reconciler.ready import Ready
from reconciler.refetch import TOO_MANY, Asked, ask
from reconciler.source import Source
from reconciler.taking import Claims
from reconciler.teaching import Teacher

_T = TypeVar("_T")
_Sent = TypeVar("_Sent", Asked, AskedMany)

_MOST_UNWRITTEN = 2 * MOST
# Workflows a claim has loaded, so that their answers need not: what is claimed ahead, and what is not written yet.
_REMEMBERED = 2000


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
        providers: Mapping[str, Provider] = PROVIDERS,
    ) -> None:
        self.holder = claiming.holder_name()
        self.clock = LedgerClock()
        self.stirred = asyncio.Event()
        self.report = report
        self._database = database
        self._redactor = redactor
        names = sorted(config.sources if sources is None else set(sources))
        self.sources = {name: Source.of(config, name, self.clock, providers) for name in names}
        recent = Recent(_REMEMBERED)
        self.claims = Claims(database, self.sources, self.clock, self.holder, config.server.lease, recent)
        self.signers = keys.Signers(database, self.sources)
        self.copies = Copies(config, database, self.sources, self.holder, counted=self._tally, stirred=self.stirred)
        self._committer = Committer(database, recent)
        self._teacher = Teacher(database, self.sources)
        self._ready = {name: Ready(source) for name, source in self.sources.items()}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for source in self.sources.values():
            await self._stack.enter_async_context(source.transport)
        await self._stack.enter_async_context(self.copies)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dismiss(timedelta(0))
        await self._stack.aclose()

    @property
    def busy(self) -> int:
        """How many requests are under way, or wait for their place."""
        return len(self._tasks) + sum(map(len, self._ready.values()))

    async def claim(self, *, most: int | None = None, untried_since: datetime | None = None) -> int:
        """Claim what is due and there is room for, and start on it; returns how many checks were taken.

        `most` bounds that number; `untried_since` also takes what is not due yet (`checks.claim`). Raises one of
        commit.TROUBLE when the database is in trouble; nothing has been claimed then.
        """
        for source in await self.signers.due():
            self._begin(keys.renew(self._database, source)).add_done_callback(self._keys_ended)
        await self._teacher.refresh()
        await self._return_overdue()
        if most is None:
            await self.copies.start()
        taken = await self.claims.take(most=most, untried_since=untried_since)
        since = time.monotonic()
        for errand in taken.errands:
            self._ready[errand.source].put(errand, taken.at, since)
        self._dispatch()
        return taken.count

    async def stay(self) -> None:
        """Claim nothing more, but keep the places of what is under way. Raises one of commit.TROUBLE."""
        await self._return_overdue()
        await self.claims.stay()

    async def _return_overdue(self) -> None:
        since = time.monotonic()
        left = [errand for ready in self._ready.values() for errand in ready.overdue(since)]
        if left:
            await self.claims.return_unsent(left)

    def _dispatch(self) -> None:
        """Start what has been claimed and finds a place."""
        if self._committer.backlog >= _MOST_UNWRITTEN:
            return  # what upstream tells must not pile up here while the database is slow
        since = time.monotonic()
        for name, ready in self._ready.items():
            while (waiting := ready.next(since)) is not None:
                running = self._begin(self._run(self.sources[name], waiting.errand, waiting.at))
                running.add_done_callback(lambda done, errand=waiting.errand: self._ended(errand, done))  # type: ignore[misc]

    def _begin(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        running = asyncio.create_task(work)
        self._tasks.add(running)
        return running

    async def _run(self, source: Source, errand: Errand, at: datetime) -> None:
        """Send one request, leave its place to the next, and put the answer into the ledger."""
        for task in errand.tasks:
            source.pace.turns.took(task.claim.lane, 1 / len(errand.tasks))
        if len(errand.tasks) > 1:
            found = await self._in_its_place(source, errand, ask_many(source, errand.tasks, self._redactor, at))
            await self._take_in_many(source, errand.tasks, found)
        else:
            asked = await self._in_its_place(source, errand, ask(source, errand.tasks[0], self._redactor, at))
            await self._take_in(source, errand.tasks[0], asked, probe=errand.probe)

    async def _in_its_place(self, source: Source, errand: Errand, work: Coroutine[Any, Any, _Sent]) -> _Sent:
        sent = True
        try:
            found = await work
            sent = found.sent
            self._stop_here(source, errand.tasks, found)
            return found
        finally:
            source.pace.ended(hint=errand.hint, retry=errand.retry)
            if errand.token and errand.sends:
                self.claims.over(source.name, errand.token, hint=errand.hint, sent=sent)
            self._dispatch()
            if source.pace.hungry:
                self.stirred.set()

    def _ended(self, errand: Errand, running: asyncio.Task[None]) -> None:
        self._tasks.discard(running)
        self._dispatch()
        if not self.busy:
            self.copies.hasten()  # what the last look has shown may be to be copied
            self.stirred.set()
        broken = None if running.cancelled() else running.exception()
        if broken is not None:
            log_event("look-broken", level="error", error=broken, source=errand.source, id=errand.tasks[0].claim.id)

    async def look(self, task: Task, at: datetime, *, probe: bool) -> tuple[Asked, Result | None]:
        """Make one try and put its answer into the ledger; the result is None when that could not be written."""
        source = self.sources[task.claim.source]
        asked = await ask(source, task, self._redactor, at)
        self._stop_here(source, [task], asked)
        return asked, await self._take_in(source, task, asked, probe=probe)

    async def _take_in(self, source: Source, task: Task, asked: Asked, *, probe: bool) -> Result | None:
        """Put an answer into the ledger, and keep what it says of its whole source."""
        self._count(task, asked)
        try:
            result = await self._committer.commit(asked.entry)
            await learn(self._database, source, asked, probe=probe)
        except TROUBLE as error:
            self._lost(source, task, error)
            return None
        finally:
            source.held -= asked.trip is not None
        self._count_result(source, task, asked, result)
        return result

    async def _take_in_many(self, source: Source, tasks: Sequence[Task], found: AskedMany) -> None:
        """Put what one request for many tells into the ledger, in one transaction."""
        if found.refused:
            source.refuse_bulk(time.monotonic())
        self.report.counts["bulk"] += found.sent
        for task, asked in zip(tasks, found.asked, strict=True):
            self._count(task, asked)
        results = await self._committer.commit_together([asked.entry for asked in found.asked])
        for task, asked, result in zip(tasks, found.asked, results, strict=True):
            if isinstance(result, BaseException):
                self._lost(source, task, result)
            else:
                self._count_result(source, task, asked, result)
        try:
            await learn(self._database, source, found.asked[0], probe=False)
        except TROUBLE as error:
            log_event("source-not-noted", level="error", error=error, source=source.name)
        finally:
            source.held -= found.asked[0].trip is not None

    def _tally(self, what: str) -> None:
        self.report.counts[what] += 1

    def _lost(self, source: Source, task: Task, error: BaseException) -> None:
        # The lease runs out by itself, and whoever comes next asks again.
        self.report.counts["lost"] += 1
        log_event("look-not-written", level="error", error=error, source=source.name, id=task.claim.id)

    def _count_result(self, source: Source, task: Task, asked: Asked, result: Result) -> None:
        self._teacher.note(asked, result)
        self.report.counts["stale"] += result.stale
        self.report.counts["created"] += result.created
        if result.stale:
            log_event("look-too-late", level="warning", source=source.name, id=task.claim.id)

    def _count(self, task: Task, asked: Asked) -> None:
        counts = self.report.counts
        counts[str(asked.answer)] += 1
        if isinstance(task.plan, GiveUp):
            counts["gave_up"] += 1
        elif asked.answer is not Answer.OMITTED:
            counts["looks"] += 1
        counts["relinks"] += isinstance(task.plan, Relink)

    def _stop_here(self, source: Source, errand_tasks: Sequence[Task], found: Asked | AskedMany) -> None:
        """Send nothing more of a source, in this process, from the instant an answer says so."""
        asked = found if isinstance(found, Asked) else found.asked[0]
        judge(source, errand_tasks[0], asked)
        if asked.status == TOO_MANY:
            source.pace.pause(time.monotonic(), source.wait_after_too_many(asked.entry.look))

    def _keys_ended(self, running: asyncio.Task[Any]) -> None:
        self._tasks.discard(running)
        self.stirred.set()
        if not running.cancelled() and running.exception() is not None:
            log_event("keys-broken", level="error", error=running.exception())

    async def dismiss(self, grace: timedelta) -> None:
        """Let what is under way end within `grace`, cancel the rest, and give its leases back if that is possible."""
        unsent = any(self._ready.values())
        self._ready = {}
        ends = time.monotonic() + grace.total_seconds()
        while self._tasks and (seconds := ends - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=min(seconds, self.claims.stays_every.total_seconds()))
            with suppress(TimeoutError, *TROUBLE):  # then others may take the places of what is still under way
                async with asyncio.timeout(max(ends - time.monotonic(), 0)):
                    await self.claims.stay()
        left = list(self._tasks)
        for running in left:
            running.cancel()
        if left:
            await asyncio.wait(left)
        await self.copies.dismiss()
        await self._committer.close()
        await self._teacher.close()
        await asyncio.sleep(0)  # for the last ones to be noted as over
        try:
            await self.claims.close(give_back=bool(left) or unsent)
        except TROUBLE as error:
            log_event("leases-kept", level="warning", error=error, holder=self.holder, count=len(left))
