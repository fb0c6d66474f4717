"""What a claim takes among the due, and what PostgreSQL has to write for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from receiver.ledger.checks import claim
from receiver.ledger.database import Database
from receiver.ledger.tables import checks

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LEASE = timedelta(seconds=90)


async def due(database: Database, name: str, **given: Any) -> None:
    row = {
        "source": "civitai", "id": name, "workflow": None, "reasons": {}, "lane": "standing", "due_at": NOW, "hints": 0,
        "attempts": 0, "looks": 0, "misses": 0, "fence": 0,
    }  # fmt: skip
    async with database.write() as connection:
        await connection.execute(checks.insert().values(row | given))


async def claimed(database: Database, *, retries: bool | None = None, limit: int = 100) -> list[str]:
    async with database.write() as connection:
        found = await claim(
            connection, NOW, holder="me", lease=LEASE, limits={"civitai": limit}, retries=retries, lanes=("standing",)
        )
    return sorted(one.id for one in found)


async def test_each_due_check_is_taken_once_the_longest_due_first(database: Database) -> None:
    for number in range(6):
        await due(database, f"w{number}", due_at=NOW - timedelta(minutes=number))
    assert await claimed(database, limit=4) == ["w2", "w3", "w4", "w5"]
    assert await claimed(database, limit=4) == ["w0", "w1"]
    assert await claimed(database) == []


@pytest.mark.parametrize("retries", [True, False])
async def test_a_try_that_was_never_heard_of_again_is_no_failure(database: Database, retries: bool) -> None:
    await due(database, "new")
    await due(database, "failed", attempts=1, last_error="503")
    await due(database, "lost", attempts=1)
    await due(database, "failed before, answered since", last_error="404")
    await due(database, "under way", attempts=2, last_error="503", leased_until=NOW + LEASE)
    others = ["failed before, answered since", "lost", "new"]
    assert await claimed(database, retries=retries) == (["failed"] if retries else others)
    assert await claimed(database) == (others if retries else ["failed"])


async def test_a_claim_writes_nothing_but_the_pages_that_its_checks_lie_in(postgres_database: Database) -> None:
    for number in range(20):
        await due(postgres_database, f"w{number}", attempts=number % 2, last_error="503" if number % 2 else None)
    written = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'checks'")
    async with postgres_database.write() as connection:
        found = await claim(connection, NOW, holder="me", lease=LEASE, limits={"civitai": 50})
        assert len(found) == 20
        assert tuple((await connection.execute(written)).one()) == (20, 20)
