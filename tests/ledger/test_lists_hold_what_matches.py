"""Whichever way a list of workflows is found, it holds what a reading of every workflow says matches, in its order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from receiver.ledger import cursors, queries
from receiver.ledger.database import Database
from receiver.ledger.listing import STALE_AFTER, WorkflowFilter, workflow_query
from receiver.ledger.narrowing import WALK
from receiver.ledger.states import TERMINAL
from receiver.ledger.tables import workflows
from tests.bench.loaded import blob_name, old_name
from tests.bench.loading import load
from tests.ledger.applying import delivery, put, saw

COUNT = 600
PAGE = 31
NOW = datetime.now(UTC)
CHOICES: dict[str, tuple[Any, ...]] = {
    "source": ("civitai", "beeble", "nobody"),
    "statuses": (("succeeded",), ("failed", "canceled"), ("processing", "expired")),
    "open": (True, False),
    "stale": (True, False),
    "attention": ("any", "gone"),
    "step_type": ("imageGen", "videoUpscale", "lipSync"),
    "context": ({"team": "red"}, {"team": "violet"}, {"customer": "7"}),
    "since": (NOW - timedelta(days=20),),
    "until": (NOW - timedelta(days=3),),
    "q": (old_name(0)[:5], old_name(123)[:-1], "order-", blob_name(1)[:6], blob_name(1), "a", "nothing"),
}


def _drawn(random: Random) -> dict[str, Any]:
    names = random.sample(sorted(CHOICES), random.choice((1, 1, 2, 2, 3)))
    return {name: random.choice(CHOICES[name]) for name in names}


DRAWS = [_drawn(Random(seed)) for seed in range(80)]


@pytest.mark.parametrize(("few", "walk"), [(0, WALK), (40, WALK), (10_000, 0), (10_000, 100), (10_000, 300)])
async def test_a_list_is_what_matches_newest_first(
    database: Database, database_url: str, few: int, walk: int
) -> None:
    await asyncio.to_thread(load, database_url, COUNT)
    async with database.read() as connection:
        newest = select(workflows).order_by(workflows.c.first_seen_at.desc(), workflows.c.pk.desc())
        rows = (await connection.execute(newest)).mappings().all()
        whole = await queries.as_json(connection, rows, NOW)
    wrong = {}
    for given in DRAWS:
        wanted = [one["id"] for one in whole if _matches(one, given)]
        found = await _pages(database, given, few, walk)
        if found != wanted:
            wrong[str(given)] = (len(found), len(wanted))
    assert wrong == {}


async def test_what_is_all_old_is_found_although_the_newest_were_looked_through_first(database: Database) -> None:
    for second in range(20):
        name = f"{'old' if second < 10 else 'new'}-{second:02}"
        await put(database, delivery(second, saw("processing"), wf=name), now=second)
    async with database.read() as connection:
        # The newest 12 have 2 of them; a page takes 3.
        query = await workflow_query(connection, WorkflowFilter(q="old", limit=2), NOW, 100, 12)
        found = [row.id for row in await connection.execute(query)]
    assert found == ["old-09", "old-08", "old-07"]


async def _pages(database: Database, given: dict[str, Any], few: int, walk: int) -> list[str]:
    """Every page of a list, one after the other."""
    found: list[str] = []
    cursor = None
    while True:
        async with database.read() as connection:
            query = await workflow_query(connection, WorkflowFilter(**given, limit=PAGE, cursor=cursor), NOW, few, walk)
            rows = (await connection.execute(query)).all()
        found += [row.id for row in rows[:PAGE]]
        if len(rows) <= PAGE:
            return found
        cursor = cursors.encode("w", {"first_seen_at": rows[PAGE - 1].first_seen_at, "pk": rows[PAGE - 1].pk})


def _matches(one: dict[str, Any], given: dict[str, Any]) -> bool:
    named = [one["id"], one["ref"] or "", *(job["id"] for job in one["jobs"]), *(blob["id"] for blob in one["blobs"])]
    at = datetime.fromisoformat(one["first_seen_at"])
    due = one["next_check_at"]
    is_so = {
        "source": lambda value: one["source"] == value,
        "statuses": lambda value: one["status"] in value,
        "open": lambda value: (one["status"] not in TERMINAL) is value,
        "stale": lambda value: (due is not None and datetime.fromisoformat(due) < NOW - STALE_AFTER) is value,
        "attention": lambda value: any(value in ("any", each["kind"]) for each in one["attention"]),
        "step_type": lambda value: any(step["type"] == value for step in one["steps"]),
        "context": lambda value: value.items() <= (one["context"] or {}).items(),
        "since": lambda value: at >= value,
        "until": lambda value: at < value,
        "q": lambda value: any(name.startswith(value) for name in named),
    }
    return all(is_so[name](value) for name, value in given.items())
