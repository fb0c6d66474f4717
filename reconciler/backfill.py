"""Finding what no callback ever mentioned, by listing (DESIGN §7): a look-back that ends a minute ago.

Never a cursor that moves on: what upstream shows late, or changed, is seen the next time. Only within one run is there
a next page, and that is kept with the page it came with, so that a run that was killed is gone on with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger import store
from receiver.ledger.apply import apply
from receiver.ledger.chores import Chore, take
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Entry, Result
from receiver.ledger.nodes import CONCURRENT, WorkflowState
from receiver.ledger.passlog import noted
from receiver.ledger.query_parts import stamp
from receiver.ledger.records import EvidenceKind, JsonObject, Level, Reading
from receiver.logs import log_event
from receiver.providers import PROVIDERS
from receiver.providers.base import Page, Provider, ProviderError, Request, Response, UpstreamRefused
from receiver.reading import LISTED, parts_of, read_page, take_part
from receiver.redaction import Redactor
from reconciler.claiming import holder_name
from reconciler.clock import LedgerClock
from reconciler.refetch import KEPT_HEADERS
from reconciler.source import Source
from reconciler.transport import ElsewhereRefused
from reconciler.unhurried import Stopped, Unhurried

KIND = "backfill"
# What was submitted a moment ago may not be listed yet; it is, the next time.
UNTIL = timedelta(minutes=1)


class CannotList(ValueError):
    """This upstream has no listing."""


@dataclass(slots=True)
class BackfillReport:
    """What one backfill did. `outcome` is done, stopped, elsewhere (another process is at it), or by whose fault it
    ended: upstream, overtaken. `planned` lists what a dry run would have taken in."""

    source: str
    since: datetime | None = None
    until: datetime | None = None
    resumed: bool = False
    pages: int = 0
    listed: int = 0  # workflows upstream showed
    adopted: int = 0  # of them, nobody had heard of
    forward: int = 0  # and were known, and are further now
    known: int = 0  # and were as the ledger has them
    unreadable: int = 0
    failed: int = 0  # could not be written
    outcome: str = "done"
    message: str = ""
    planned: list[JsonObject] = field(default_factory=list)

    def as_json(self) -> JsonObject:
        """Return the report as JSON data."""
        names = ("source", "resumed", *_COUNTS, "outcome", "message", "planned")
        return {**{name: getattr(self, name) for name in names}, "since": stamp(self.since), "until": stamp(self.until)}

    @property
    def counts(self) -> dict[str, int]:
        """What is kept of it in the record of the pass."""
        return {name: getattr(self, name) for name in _COUNTS}

    @property
    def incomplete(self) -> bool:
        """Whether something was left undone."""
        return self.outcome != "done" or bool(self.failed or self.unreadable)


_COUNTS = ("pages", "listed", "adopted", "forward", "known", "unreadable", "failed")


async def backfill(
    config: Config,
    database: Database,
    redactor: Redactor,
    name: str,
    look_back: timedelta,
    *,
    dry_run: bool = False,
    every: timedelta | None = None,
    stop: asyncio.Event | None = None,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> BackfillReport | None:
    """List what was submitted within `look_back` and take in what is news; None when `every` says not yet.

    A run that was interrupted is gone on with, and then what came since is listed. Each page is one transaction. The
    dry run asks upstream all the same, and writes nothing but that it did. Raises CannotList, ConfigError, LedgerError
    and SQLAlchemyError.
    """
    source = Source.of(config, name, LedgerClock(), providers)
    holder = holder_name()
    async with database.write() as connection:
        at = await now(connection)
        source.clock.set(at)
        if source.provider.list(at - look_back, at - UNTIL, source.account) is None:
            raise CannotList(f"{config.source(name).provider} has no listing; its workflows are found by `refetch`")
        chore = None if dry_run else await take(connection, KIND, name, holder, at, every)
    report = BackfillReport(name)
    if chore is None and not dry_run:
        report.outcome = "elsewhere"
        return None if every is not None else report
    work = _Run(database, redactor, source, report, chore, Unhurried(database, source, holder, stop))
    async with source.transport:
        if dry_run:
            await work.through(at - look_back, at - UNTIL)
            return report
        async with noted(database, KIND, holder) as record:
            try:
                await work.all(at, look_back)
            finally:
                record.counts.update(report.counts)
                record.outcome = report.outcome
    return report


@dataclass(slots=True)
class _Run:
    """One run, page by page."""

    database: Database
    redactor: Redactor
    source: Source
    report: BackfillReport
    chore: Chore | None
    upstream: Unhurried
    seen: set[str] = field(default_factory=set)
    visited: set[str] = field(default_factory=set)
    next: Request | None = None
    window: tuple[datetime, datetime] | None = None

    async def all(self, at: datetime, look_back: timedelta) -> None:
        """Go on where a run was interrupted, then list the whole look-back, or what that run did not reach."""
        assert self.chore is not None
        since, until = at - look_back, at - UNTIL
        left = self.chore.progress
        try:
            if left is not None and _instant(left["since"]) <= since and _instant(left["until"]) >= since:
                self.report.resumed = True
                began, reached = _instant(left["since"]), _instant(left["until"])
                if await self.through(began, reached, left["next"]):
                    await self.through(max(since, reached - UNTIL), until)
            else:
                await self.through(since, until)
        except BaseException:
            self.report.outcome = "broken"
            raise
        finally:
            async with self.database.write() as connection:
                where = None if self.report.outcome == "done" else self._place()
                found = {**self.report.counts, "until": stamp(self.report.until), "message": self.report.message}
                await self.chore.end(connection, self.report.outcome, where, found, await now(connection))

    async def through(self, since: datetime, until: datetime, place: str | None = None) -> bool:
        """List a window from a page on; returns whether it came to its end."""
        report = self.report
        self.window = since, until
        self.visited.clear()
        report.since, report.until = min(report.since or since, since), until
        first = self.source.provider.list(since, until, self.source.account)
        assert first is not None
        # The headers carry the key: of the page that was next only the address was kept.
        self.next = first if place is None else Request(first.method, place, first.headers, first.body)
        try:
            while self.next is not None:
                await self._page(self.next)
        except Stopped:
            report.outcome = "stopped"
        except _Overtaken:
            report.outcome = "overtaken"
        except UpstreamRefused as error:
            if place is not None:  # upstream does not know the old page any more
                return await self.through(since, until)
            self._fault(error)
        except (ProviderError, ElsewhereRefused) as error:
            self._fault(error)
        return report.outcome == "done"

    def _fault(self, error: Exception) -> None:
        self.report.outcome, self.report.message = "upstream", self.redactor.text(str(error))
        log_event("backfill-failed", level="warning", source=self.source.name, message=self.report.message)

    async def _page(self, asked: Request) -> None:
        if asked.url in self.visited:  # upstream leads round in a circle: there is no more to be had
            self.next = None
            log_event("backfill-circle", level="warning", source=self.source.name, pages=self.report.pages)
            return
        self.visited.add(asked.url)

        def read(response: Response) -> Page:
            return read_page(self.source.provider, response, self.source.account, asked)

        response, page = await self.upstream.ask(asked, read)
        self.report.pages += 1
        self.report.unreadable += page.skipped
        fresh = [one for one in page.readings if one.workflow_id not in self.seen]
        self.seen |= {one.workflow_id for one in fresh}
        self.report.listed += len(fresh)
        self.next = page.next
        await self._take_in(response, fresh)

    async def _take_in(self, response: Response, readings: Sequence[Reading]) -> None:
        keys = [(self.source.name, one.workflow_id) for one in readings]
        async with self.database.read() as connection:
            states = await store.load(connection, keys) if keys else {}
        news = [one for one in readings if is_news(one, states.get((self.source.name, one.workflow_id)))]
        self.report.known += len(readings) - len(news)
        if self.chore is None:
            self.report.planned += [_planned(one, states.get((self.source.name, one.workflow_id))) for one in news]
            return
        parts = parts_of(response.body, {one.workflow_id for one in news})
        entries = [self._entry(response, one, parts.get(one.workflow_id)) for one in news]
        try:
            await self._write(entries)
        except SQLAlchemyError as error:
            # One of them cannot be written. Each for itself, then.
            log_event("backfill-apart", level="warning", source=self.source.name, error=error)
            for entry in entries:
                try:
                    await self._write([entry])
                except SQLAlchemyError:
                    self.report.failed += 1

    def _entry(self, response: Response, reading: Reading, part: tuple[bytes, JsonObject] | None) -> Entry:
        entry = Entry(self.source.name, self.source.policy, EvidenceKind.FETCH, response.sent_at, reading.workflow_id)
        entry.reading = reading
        entry.http_status, entry.http_date = response.status, response.date
        entry.headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        take_part(entry, response.body, part, LISTED)
        return entry

    async def _write(self, entries: Sequence[Entry]) -> None:
        assert self.chore is not None
        async with self.database.write() as connection:
            at = await now(connection)
            results = await apply(connection, entries, at) if entries else []
            await self._keep(connection, at)
        for result in results:
            self._count(result)

    def _count(self, result: Result) -> None:
        if result.created:
            self.report.adopted += 1
        elif result.merged is not None and result.merged.moved:
            self.report.forward += 1
        else:
            self.report.known += 1

    async def _keep(self, connection: AsyncConnection, at: datetime) -> None:
        assert self.chore is not None
        if not await self.chore.keep(connection, self._place(), at):
            raise _Overtaken

    def _place(self) -> JsonObject | None:
        if self.next is None or self.window is None:
            return None
        since, until = self.window
        return {"since": stamp(since), "until": stamp(until), "next": self.next.url}


class _Overtaken(Exception):
    """Another process took the chore over: this one was held up for too long."""


def is_news(reading: Reading, state: WorkflowState | None) -> bool:
    """Whether a listing says something the ledger does not hold: of what is settled only another ending does. Pure."""
    if state is None or state.node.confirmed_at is None or any(not one.status.terminal for one in state.children()):
        return True
    seen = next((one for one in reading.observations if one.level is Level.WORKFLOW), None)
    if seen is None or seen.status is None:
        return False
    if seen.status is not state.node.status:
        return True
    ours, theirs = state.node.completed_at, seen.completed_at
    return theirs is not None and (ours is None or abs(theirs - ours) > CONCURRENT)


def _planned(reading: Reading, state: WorkflowState | None) -> JsonObject:
    seen = next((one for one in reading.observations if one.level is Level.WORKFLOW), None)
    known = None if state is None else str(state.node.status)
    word = None if seen is None else seen.word
    return {"id": reading.workflow_id, "do": "adopt" if state is None else "update", "status": known, "upstream": word}


def _instant(text: Any) -> datetime:
    return datetime.fromisoformat(text)
