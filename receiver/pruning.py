"""`prune`: retention of every source, batch by batch, with a pause after each in which others write."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger import pruning
from receiver.ledger.database import Database, now
from receiver.ledger.pruning import Place

BATCH = 200
LOOKED_THROUGH = 5000  # workflows in one reading
PAUSE = 0.05  # seconds after each batch
PASSES_KEPT = timedelta(days=30)
# Beyond the time in which upstream tries to deliver: a person may have it delivered again by hand.
KEYS_KEPT = timedelta(days=1)

Counts = Counter[str]


class Prune:
    """One run over all sources. `counts` fill while it works; `stop` ends it after the batch at hand.

    `workflows` are those whose evidence went, `bodies` and `evidence` what was taken away of it, `keys`, `attention`,
    `rejections` and `passes` what went besides.
    """

    def __init__(
        self, config: Config, database: Database, *, dry_run: bool = False, stop: asyncio.Event | None = None
    ) -> None:
        self.counts: Counts = Counter()
        self._config, self._database, self._dry_run = config, database, dry_run
        self._stop = stop or asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    async def run(self) -> None:
        """Prune everything that is due. Raises LedgerError and SQLAlchemyError; what was done by then stays done."""
        async with self._database.read() as connection:
            at = await now(connection)
        for name, source in sorted(self._config.sources.items()):
            before = at - source.retention
            for status in pruning.STATUSES:
                await self._workflows(name, status, before)
            await self._unattached(name, before, at)
            if not self._dry_run:
                await self._keys(name, at - max(source.retention, source.habits.retry_horizon + KEYS_KEPT))
                await self._write(pruning.prune_records, name, before, 1000)
        if not self._dry_run:
            await self._write(_passes, at - PASSES_KEPT)

    async def _workflows(self, source: str, status: str, before: datetime) -> None:
        after: Place | None = None
        while not self.stopped:
            async with self._database.read() as connection:
                found, after = await pruning.expired(connection, source, status, before, after, LOOKED_THROUGH)
            if after is None:
                return
            if self._dry_run:
                self.counts["workflows"] += len(found)
                continue
            for start in range(0, len(found), BATCH):
                if not self.stopped:
                    pks = found[start : start + BATCH]
                    await self._write(pruning.prune_workflows, source, status, before, pks)

    async def _unattached(self, source: str, before: datetime, at: datetime) -> None:
        after = ""
        while not self.stopped:
            async with self._database.read() as connection:
                found = await pruning.unattached(connection, source, before, after, BATCH)
            if not found:
                return
            after = found[-1][0]
            if self._dry_run:
                self.counts["unattached"] += len(found)
                continue
            await self._write(pruning.prune_unattached, source, found, at)

    async def _keys(self, source: str, before: datetime) -> None:
        after = ""
        while not self.stopped:
            async with self._database.read() as connection:
                found = await pruning.keys_after(connection, source, after, BATCH)
                old = {key: held for key, last_at, held in found if last_at < before}
                spent = await pruning.spent(connection, sorted(old.values())) if old else {}
            if not found:
                return
            after = found[-1][0]
            keys = [key for key, held in old.items() if held in spent]
            rows = [held for held in old.values() if spent.get(held)]
            if keys:
                await self._write(pruning.drop_keys, source, keys, before, rows)

    async def _write(self, work: Callable[..., Awaitable[dict[str, int]]], *given: Any) -> None:
        async with self._database.write() as connection:
            self.counts.update(await work(connection, *given))
        await asyncio.sleep(PAUSE)


async def _passes(connection: AsyncConnection, before: datetime) -> dict[str, int]:
    return {"passes": await pruning.prune_passes(connection, before, 10_000)}
