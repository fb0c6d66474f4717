"""What a daemon does now and then besides looking: backfill, audit, prune. One process at a time does each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from receiver.config import Config
from receiver.ledger import chores
from receiver.ledger.database import Database, now
from receiver.ledger.passlog import noted
from receiver.logs import log_event
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider
from receiver.pruning import Prune
from receiver.redaction import Redactor
from reconciler import audit, backfill
from reconciler.claiming import holder_name
from reconciler.commit import TROUBLE

PRUNE = "prune"
FIRST = 60.0  # seconds after the start: what is due comes first
TURN = 20.0  # seconds between looks at what is to be done
DAILY = timedelta(days=1)
# A daemon that was away lists what was submitted meanwhile, but no further back than this.
FURTHEST = timedelta(days=3)


@asynccontextmanager
async def besides(
    config: Config,
    database: Database,
    redactor: Redactor,
    stop: asyncio.Event,
    sources: Iterable[str],
    providers: Mapping[str, Provider] = PROVIDERS,
) -> AsyncIterator[None]:
    """Do chores for as long as the block lasts."""
    running = asyncio.create_task(do_forever(config, database, redactor, stop, sources, providers), name="chores")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


async def do_forever(
    config: Config,
    database: Database,
    redactor: Redactor,
    stop: asyncio.Event,
    sources: Iterable[str],
    providers: Mapping[str, Provider] = PROVIDERS,
    *,
    first: float = FIRST,
) -> None:
    """Do each chore when it is due, one after the other, until `stop` is set. A database that is away is waited for."""
    names = sorted(sources)
    wait = first
    while not stop.is_set():
        try:
            async with asyncio.timeout(wait):
                await stop.wait()
        except TimeoutError:
            wait = TURN
        for name in names:
            for chore in (_backfill, _audit):
                if stop.is_set():
                    return
                await _try(name, chore(config, database, redactor, stop, name, providers))
        if not stop.is_set():
            await _try("", _prune(config, database, stop))


async def _try(name: str, work: Awaitable[None]) -> None:
    try:
        await work
    except TROUBLE as error:
        log_event("chore-broken", level="error", source=name, error=error)
    except Exception as error:  # noqa: BLE001 - a bug in one chore must not end the daemon, nor the other chores
        log_event("chore-broken", level="error", source=name, error=error)


async def _backfill(
    config: Config,
    database: Database,
    redactor: Redactor,
    stop: asyncio.Event,
    name: str,
    providers: Mapping[str, Provider],
) -> None:
    source = config.source(name)
    look_back = source.backfill
    at = datetime.now(UTC)
    if not look_back or providers[source.provider].list(at - look_back, at, source.account(name)) is None:
        return
    every = look_back / 4
    async with database.read() as connection:
        at = await now(connection)
        if not await chores.due(connection, backfill.KIND, name, at, every):
            return
        last = (await chores.found(connection, backfill.KIND)).get(name)
    reached = (last or {}).get("found") or {}
    if reached.get("until"):
        look_back = min(max(look_back, at - datetime.fromisoformat(reached["until"]) + backfill.UNTIL), FURTHEST)
    report = await backfill.backfill(
        config, database, redactor, name, look_back, every=every, stop=stop, providers=providers
    )
    if report is not None:
        log_event("backfill", source=name, outcome=report.outcome, counts=report.counts)


async def _prune(config: Config, database: Database, stop: asyncio.Event) -> None:
    async with database.read() as connection:
        if not await chores.due(connection, PRUNE, "", await now(connection), DAILY):
            return
    holder = holder_name()
    async with database.write() as connection:
        chore = await chores.take(connection, PRUNE, "", holder, await now(connection), DAILY)
    if chore is None:
        return
    async with noted(database, PRUNE, holder) as record:
        work = Prune(config, database, stop=stop)
        try:
            await work.run()
        finally:
            record.counts.update(work.counts)
            record.outcome = "stopped" if work.stopped else "done"
            async with database.write() as connection:
                at = await now(connection)
                await chore.end(connection, record.outcome, None, dict(work.counts), at)
    log_event("prune", outcome=record.outcome, counts=dict(work.counts))


async def _audit(
    config: Config,
    database: Database,
    redactor: Redactor,
    stop: asyncio.Event,
    name: str,
    providers: Mapping[str, Provider],
) -> None:
    sample = config.source(name).audit
    if not sample:
        return
    async with database.read() as connection:
        if not await chores.due(connection, audit.KIND, name, await now(connection), DAILY):
            return
    report = await audit.audit(
        config, database, redactor, name, sample=sample, every=DAILY, stop=stop, providers=providers
    )
    if report is not None:
        log_event("audit", source=name, outcome=report.outcome, figures=report.figures())
