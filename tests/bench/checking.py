"""Whether a store keeps its word: every body answered 200 is there, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import func, select

from receiver.ledger.database import Database
from receiver.ledger.tables import delivery_keys, evidence
from tests.bench import pgbench
from tests.bench.measure import Series


@dataclass(frozen=True)
class Kept:
    """What the check found. `acknowledged` deliveries had `bodies` different bodies; of these `missing` are not in the
    store and `doubled` are there more than once. `unread` rows were quarantined: the traffic is all readable, so any
    is a fault. `counted` is what the dedupe keys say how many deliveries came."""

    acknowledged: int
    bodies: int
    missing: int
    doubled: int
    unread: int
    counted: int

    @property
    def sound(self) -> bool:
        """Whether every delivery answered 200 is stored once. A count may be higher: an answer can be lost."""
        return not (self.missing or self.doubled or self.unread) and self.counted >= self.acknowledged


async def check_all(series: Mapping[str, Series]) -> dict[str, Kept]:
    """Check every contender that stores something."""
    found = {name: await check_series(one) for name, one in series.items()}
    return {name: one for name, one in found.items() if one is not None}


async def check_series(series: Series) -> Kept | None:
    """Check what a contender has acknowledged in all its rounds; None for one that stores nothing."""
    keeps, url = series.contender.kind.keeps, series.contender.database
    if keeps == "pgbench":
        done, found = series.sent, await pgbench.count(url)
        return Kept(done, done, max(done - found, 0), 0, 0, found)
    if keeps == "peer":
        return await check_peer(url, series.acknowledged)
    return await check(url, series.acknowledged) if keeps == "ledger" else None


async def check_peer(url: str, acknowledged: Iterable[Path]) -> Kept:
    """Compare what was answered 200 with what is in a peer's `deliveries`, which count what came again."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT body_sha256, count(*), sum(count) FROM deliveries GROUP BY 1")
    finally:
        await connection.close()
    return _compared(acknowledged, {row[0]: row[1] for row in rows}, 0, sum(row[2] for row in rows))


async def check(url: str, acknowledged: Iterable[Path]) -> Kept:
    """Compare what was answered 200 with what is in the ledger."""
    database = await Database.open(url)
    try:
        async with database.read() as connection:
            # What was loaded has no bodies, and may be ten million rows.
            came = select(evidence.c.body_sha256, func.count()).where(evidence.c.body.is_not(None))
            grouped = came.group_by(evidence.c.body_sha256)
            stored = {row[0]: int(row[1]) for row in await connection.execute(grouped)}
            unread = await connection.scalar(
                select(func.count()).select_from(evidence).where(evidence.c.problem.is_not(None))
            )
            counted = await connection.scalar(select(func.coalesce(func.sum(delivery_keys.c.count), 0)))
    finally:
        await database.close()
    return _compared(acknowledged, stored, int(unread or 0), int(counted or 0))


def _compared(acknowledged: Iterable[Path], stored: dict[str, int], unread: int, counted: int) -> Kept:
    answered: Counter[str] = Counter()
    for file in acknowledged:
        digests = file.read_bytes()
        answered.update(digests[place : place + 32].hex() for place in range(0, len(digests), 32))
    return Kept(
        acknowledged=answered.total(),
        bodies=len(answered),
        missing=sum(digest not in stored for digest in answered),
        doubled=sum(stored.get(digest, 0) > 1 for digest in answered),
        unread=unread,
        counted=counted,
    )
