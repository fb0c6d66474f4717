"""The reconciler's two ways of working: one pass and out, or on and on until told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger import tallies
from receiver.ledger.database import Database, now
from receiver.logs import log_event
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider
from receiver.redaction import Redactor
from reconciler import chores, passes
from reconciler.commit import TROUBLE
from reconciler.crew import Crew
from reconciler.dryrun import planned
from reconciler.passes import PassReport

IDLE = 0.5  # seconds between looks at an idle ledger: what somebody waits for is found within this
GRACE = timedelta(seconds=4)
GATHER = 0.01  # seconds in which looks that end together free their places for one claim, not one each
_LONGEST_OUTAGE_WAIT = 10.0
_NOTED_EVERY = 60.0


async def run_pass(
    config: Config,
    database: Database,
    redactor: Redactor,
    *,
    kind: str = "cron",
    sources: Iterable[str] | None = None,
    limit: int | None = None,
    open_only: bool = False,
    budget: timedelta | None = None,
    dry_run: bool = False,
    stop: asyncio.Event | None = None,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> PassReport:
    """Work until nothing is due or `budget` (default: the configured one) is over; returns what was done.

    `open_only` looks at everything that is not settled, once, due or not, and then at what is due. `limit` bounds the
    checks taken. A pass leaves its row in `passes` from its start. `dry_run` only reads: the report's `planned` says
    what would be done. Raises LedgerError, SQLAlchemyError, and ConfigError for an unknown source.
    """
    report = PassReport(kind)
    async with Crew(config, database, redactor, report, sources, providers) as crew:
        if dry_run:
            report.planned = await planned(database, crew.sources, limit=limit, open_only=open_only)
            report.outcome = "done"
            return report
        async with database.write() as connection:
            await passes.begin(connection, report, crew.holder, await now(connection))
        try:
            seconds = (budget or config.server.pass_budget).total_seconds()
            report.outcome = await _work_off(crew, report, seconds, limit, open_only, stop)
        except BaseException:
            report.outcome = "broken"
            raise
        finally:
            await crew.dismiss(GRACE if report.outcome == "stopped" else timedelta(0))
            await _note_end(database, crew, report)
    return report


async def _work_off(
    crew: Crew, report: PassReport, seconds: float, limit: int | None, open_only: bool, stop: asyncio.Event | None
) -> str:
    """Claim and work until there is nothing left to claim and nothing under way; returns why it ended.

    What is under way when the time is over may still end within `GRACE`; the rest is given back, and not counted as
    tried: an upstream that hangs must not keep a pass beyond its time.
    """
    ends = time.monotonic() + seconds
    leaves = ends + GRACE.total_seconds()
    left = limit
    first = report.started_at if open_only else None
    while True:
        crew.stirred.clear()
        if stop is not None and stop.is_set():
            return "stopped"
        outcome = "budget" if time.monotonic() >= ends else "limit" if left == 0 else "done"
        taken = 0
        if outcome == "done" and crew.busy:
            await asyncio.sleep(GATHER)
        idle = not crew.busy  # asked before the claim: a look that ends during it frees a place for what is still due
        if outcome == "done":
            taken = await crew.claim(most=left, untried_since=first)
            if not taken and first is not None and idle and not crew.claims.waiting:
                first = None  # all that was open has been looked at; now what is due
                continue
        else:
            await crew.stay()
        if left is not None:
            left -= taken
        if outcome == "budget" and time.monotonic() >= leaves:
            return outcome
        waits = outcome == "done" and crew.claims.waiting  # for a place at a source: others hold them all just now
        if not taken and idle and not crew.busy and not waits:  # the claim may have begun to fetch a signer's keys
            if outcome == "done" and crew.copies.busy:  # for as long as there is time; the next pass goes on with them
                await _wait(IDLE, crew.stirred, stop)
                continue
            return outcome
        if not taken:
            await _wait(IDLE, crew.stirred, stop)


async def _wait(seconds: float, *events: asyncio.Event | None) -> None:
    """Return after that many seconds, or when one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events if event is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _note_end(database: Database, crew: Crew, report: PassReport) -> None:
    try:
        async with database.write() as connection:
            report.ended_at = await now(connection)
            await passes.note(connection, report)
            await _fold(connection)
    except TROUBLE as error:
        log_event("pass-not-noted", level="warning", error=error, holder=crew.holder)


async def run_daemon(
    config: Config,
    database: Database,
    redactor: Redactor,
    stop: asyncio.Event,
    *,
    beat: Callable[[], None] | None = None,
    sources: Iterable[str] | None = None,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> None:
    """Claim and work until `stop` is set; then finish or give back what is under way within a few seconds.

    `beat` is called at every turn, twice a second at least while the database answers. Any number of processes may do
    this on one database. A database that is away is waited for.
    """
    report = PassReport("daemon")
    noted = 0.0
    outage = 0.0
    async with (
        Crew(config, database, redactor, report, sources, providers) as crew,
        chores.besides(config, database, redactor, stop, crew.sources, providers),
    ):
        log_event("reconciler-started", holder=crew.holder, sources=sorted(crew.sources))
        while not stop.is_set():
            crew.stirred.clear()
            if beat is not None:
                beat()
            try:
                if time.monotonic() - noted >= _NOTED_EVERY:
                    await _note(database, crew, report)
                    noted = time.monotonic()
                taken = await crew.claim()
            except TROUBLE as error:
                outage = min(max(outage * 2, IDLE), _LONGEST_OUTAGE_WAIT)
                log_event("database-away", level="error", error=error, retry_in=outage)
                await _wait(outage, stop)
                continue
            if outage:
                log_event("database-back")
            outage = 0.0
            if not taken:
                await _wait(IDLE, crew.stirred, stop)
        report.outcome = "stopped"
        await crew.dismiss(GRACE)
        if report.started_at is not None:
            await _note_end(database, crew, report)
        log_event("reconciler-stopped", holder=crew.holder, counts=dict(report.counts))


async def _note(database: Database, crew: Crew, report: PassReport) -> None:
    async with database.write() as connection:
        if report.started_at is None:
            await passes.begin(connection, report, crew.holder, await now(connection))
        else:
            await passes.note(connection, report)
        await _fold(connection)


async def _fold(connection: AsyncConnection) -> None:
    """Fold what batches added to the figures: where only passes run, nobody else does."""
    while await tallies.fold(connection) == tallies.AT_ONCE:
        pass
