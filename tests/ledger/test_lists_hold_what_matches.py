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
from receiver.ledger.states import TERMINAL
from receiver.ledger.tables import workflows
from tests.bench.loaded import blob_name, old_name
from tests.bench.loading import load

COUNT = 600
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


@pytest.mark.parametrize("few", [0, 40, 10_000])
async def test_a_list_is_what_matches_newest_first(database: Database, database_url: str, few: int) -> None:
    await asyncio.to_thread(load, database_url, COUNT)
    async with database.read() as connection:
        newest = select(workflows).order_by(workflows.c.first_seen_at.desc(), workflows.c.pk.desc())
        rows = (await connection.execute(newest)).mappings().all()
        whole = await queries.as_json(connection, rows, NOW)
    wrong = {}
    for given in DRAWS:
        wanted = [one["id"] for one in whole if _matches(one, given)]
        found = await _pages(database, given, few)
        if found != wanted:
            wrong[str(given)] = (len(found), len(wanted))
    assert wrong == {}


async def _pages(database: Database, given: dict[str, Any], few: int) -> list[str]:
    """Every page of a list, one after the other."""
    found: list[str] = []
    cursor = None
    while True:
        async with database.read() as connection:
            query = await workflow_query(connection, WorkflowFilter(**given, limit=97, cursor=cursor), NOW, few)
            rows = (await connection.execute(query)).all()
        found += [row.id for row in rows[:97]]
        if len(rows) <= 97:
            return found
        cursor = cursors.encode("w", {"first_seen_at": rows[96].first_seen_at, "pk": rows[96].pk})


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
