"""No filter of a list makes it read a large part of the ledger, on PostgreSQL: counted row by row as the plan runs.

The ledger is the bench's, whose rare statuses, sources and types of step are old, as they are in life: a plan that goes
back in time until it has met enough of them reads everything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles

from receiver.ledger import cursors
from receiver.ledger.database import Database
from receiver.ledger.deliveries import EvidenceFilter, evidence_query
from receiver.ledger.listing import JobFilter, WorkflowFilter, job_query, workflow_query
from tests.bench.loaded import COLUMNS, RARE_EVERY, RARE_SOURCE, RARE_STATUS, RARE_TYPE, blob_name, old_name
from tests.bench.loading import load

COUNT = RARE_EVERY
FEW = 1000  # of so many workflows, about what narrowing.FEW is of a million
MOST = 8000  # rows that a page of 50 may take, each met in several indexes
NOW = datetime.now(UTC)
MIDDLE = NOW - timedelta(days=15)


class Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement) -> None:
        self.statement = statement


@compiles(Explain)
def _explain(element, compiler, **more):
    return "EXPLAIN (ANALYZE, FORMAT JSON) " + compiler.process(element.statement, **more)


@pytest.fixture
async def ledger(postgres_url: str, postgres_database: Database) -> Database:
    await asyncio.to_thread(load, postgres_url, COUNT)
    return postgres_database


DEEP = cursors.encode("w", {"first_seen_at": MIDDLE, "pk": COUNT // 2})
WORKFLOWS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a page in the middle": {"cursor": DEEP},
    "source": {"source": "civitai"},
    "rare source": {"source": RARE_SOURCE},
    "no such source": {"source": "nobody"},
    "source, in the middle": {"source": "fal", "cursor": DEEP},
    "status": {"statuses": ("processing",)},
    "rare status": {"statuses": (RARE_STATUS,)},
    "status nothing has": {"statuses": ("unassigned",)},
    "source and statuses": {"source": "beeble", "statuses": ("failed", "canceled")},
    "rare status of a source": {"source": "civitai", "statuses": (RARE_STATUS,)},
    "open": {"open": True},
    "ended": {"open": False},
    "open of a source": {"source": "evolink", "open": True},
    "attention": {"attention": "any"},
    "attention of a kind": {"attention": "gone"},
    "attention nobody needs": {"attention": "credentials"},
    "stale": {"stale": True},
    "not stale": {"stale": False},
    "common label": {"context": {"team": "red"}},
    "seldom label": {"context": {"customer": "42"}},
    "two labels": {"context": {"team": "violet", "customer": "42"}},
    "label nobody has": {"context": {"team": "no"}},
    "label and status": {"context": {"team": "red"}, "statuses": ("failed",)},
    "label and rare status": {"context": {"team": "red"}, "statuses": (RARE_STATUS,)},
    "step type": {"step_type": "imageGen"},
    "rare step type": {"step_type": RARE_TYPE},
    "no such step type": {"step_type": "nothing"},
    "step type and status": {"step_type": "videoUpscale", "statuses": ("succeeded",)},
    "since": {"since": NOW - timedelta(hours=5)},
    "until": {"until": NOW - timedelta(days=29)},
    "a day of a rare status": {"since": MIDDLE, "until": MIDDLE + timedelta(days=1), "statuses": (RARE_STATUS,)},
    "whole id": {"q": old_name(COUNT // 2)},
    "beginning of an id": {"q": old_name(COUNT // 2)[:-2]},
    "beginning of every id": {"q": old_name(1)[:3]},
    "beginning of every id, and a rare status": {"q": old_name(1)[:3], "statuses": (RARE_STATUS,)},
    "id of a blob": {"q": blob_name(3)},
    "beginning of every blob": {"q": blob_name(3)[:4]},
    "beginning of refs": {"q": "order-7"},
    "beginning of jobs": {"q": "77"},
    "nothing begins so": {"q": "zzz"},
}
DEEP_JOBS = cursors.encode("j", {"first_seen_at": MIDDLE, "workflow": COUNT // 2, "key": "0"})
JOBS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "rare source": {"source": RARE_SOURCE},
    "status": {"statuses": ("failed",)},
    "rare status": {"statuses": (RARE_STATUS,)},
    "statuses": {"statuses": (RARE_STATUS, "unassigned", "canceled")},
    "source": {"source": "fal"},
    "status of a source": {"source": "civitai", "statuses": ("failed",)},
    "status that a rare source does not have": {"source": RARE_SOURCE, "statuses": ("succeeded",)},
    "rare status of a source that is not rare": {"source": "civitai", "statuses": (RARE_STATUS,)},
    "a page in the middle of a source": {"source": "fal", "cursor": DEEP_JOBS},
    "workflow": {"workflow": old_name(COUNT // 2)},
    "no such id": {"id": "nope"},
    "since": {"since": NOW - timedelta(hours=5)},
}
EVIDENCE: dict[str, dict[str, Any]] = {
    "deliveries": {},
    "of any kind": {"kinds": ()},
    "source": {"source": "civitai"},
    "rare source": {"source": RARE_SOURCE},
    "quarantined": {"outcomes": ("quarantined",)},
    "quarantined of a source": {"outcomes": ("quarantined",), "source": "civitai"},
    "hints": {"outcomes": ("hint",)},
    "fetches": {"kinds": ("fetch",)},
    "decisions": {"kinds": ("decision",)},
    "workflow": {"workflow": old_name(COUNT // 2)},
    "workflow of a source": {"workflow": old_name(COUNT // 2), "source": "civitai"},
    "no such workflow": {"workflow": "nope"},
    "since": {"since": NOW - timedelta(hours=5)},
    "a day": {"since": MIDDLE, "until": MIDDLE + timedelta(days=1)},
    "a day of a source": {"since": MIDDLE, "until": MIDDLE + timedelta(days=1), "source": "fal"},
}


async def test_no_filter_reads_more_than_a_page_needs(ledger: Database) -> None:
    found: dict[str, tuple[int, list[str]]] = {}
    async with ledger.read() as connection:
        # Small as these tables are, reading one whole may be cheapest: what matters is that there is another way.
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for name, given in WORKFLOWS.items():
            query = await workflow_query(connection, WorkflowFilter(**given), NOW, FEW)
            found[f"workflows: {name}"] = await _run(connection, query)
        for name, given in JOBS.items():
            found[f"jobs: {name}"] = await _run(connection, await job_query(connection, JobFilter(**given)))
        for name, given in EVIDENCE.items():
            found[f"evidence: {name}"] = await _run(
                connection, await evidence_query(connection, EvidenceFilter(**given))
            )
    assert {name: one for name, one in found.items() if one[0] > MOST or one[1]} == {}


async def _run(connection: AsyncConnection, query) -> tuple[int, list[str]]:
    """Run a query; return how many rows its plan has read, and which large tables it has read from end to end."""
    told = (await connection.execute(Explain(query))).scalar_one()
    plan = json.loads(told) if isinstance(told, str) else told
    nodes = list(_nodes(plan[0]["Plan"]))
    whole = [one["Relation Name"] for one in nodes if one["Node Type"] == "Seq Scan" and _rows(one)]
    return sum(_rows(one) for one in nodes if "Scan" in one["Node Type"]), [one for one in whole if one in COLUMNS]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _rows(node: dict[str, Any]) -> int:
    away = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + away) * node["Actual Loops"])
