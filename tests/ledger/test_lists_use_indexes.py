"""Every documented filter of the list of workflows finds its way through an index, on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.compiler import compiles

from receiver.ledger.database import Database
from receiver.ledger.labels import digest
from receiver.ledger.listing import WorkflowFilter, workflow_query
from tests.ledger.applying import delivery, put, saw
from tests.ledger.histories import START, at

BIG = ("workflows", "steps", "jobs", "blobs", "labels", "checks", "evidence", "transitions")
NOW = START + timedelta(days=1)


class Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, statement) -> None:
        self.statement = statement


@compiles(Explain)
def _explain(element, compiler, **more):
    return "EXPLAIN " + compiler.process(element.statement, **more)


async def fill(database: Database) -> None:
    """Twenty thousand workflows of one source, from one that is real, each with a step, a job, a blob, a label."""
    await put(database, delivery(0, saw("processing"), saw("processing", "step", "$0"), wf="wf-0"))
    columns = "run, status, status_seen_at, first_seen_at, facts, stamps"
    node = "1, 'succeeded', first_seen_at, first_seen_at, '{}', '{}'"
    async with database.write() as conn:
        for statement in (
            "INSERT INTO workflows (source, id, first_seen_via, evidence_seq, transition_seq, " + columns + ")"
            " SELECT 'civ', 'wf-' || n, 'delivery', 0, 0, 1,"
            " CASE WHEN n % 50 = 0 THEN 'processing' ELSE 'succeeded' END,"
            " TIMESTAMPTZ '2026-03-01' + n * interval '1 s', TIMESTAMPTZ '2026-03-01' + n * interval '1 s', '{}', '{}'"
            " FROM generate_series(1, 20000) n",
            f"INSERT INTO steps (workflow, key, {columns}) SELECT pk, '$1', {node} FROM workflows",
            f"INSERT INTO jobs (workflow, key, {columns}) SELECT pk, 'job-' || pk, {node} FROM workflows",
            "INSERT INTO blobs (workflow, run, id, source, url_confirmed, facts)"
            " SELECT pk, 1, 'blob-' || pk, source, true, '{}' FROM workflows",
        ):
            await conn.exec_driver_sql(statement)
        await conn.exec_driver_sql(
            "INSERT INTO labels SELECT pk, CASE WHEN pk % 500 = 0 THEN $1::bytea ELSE '\\x00' END, first_seen_at"
            " FROM workflows",
            (digest("team", "red"),),
        )
    async with database.maintenance() as conn:
        await conn.exec_driver_sql("ANALYZE")


FILTERS = {
    "nothing": {},
    "source": {"source": "civ"},
    "status": {"statuses": ("processing",)},
    "source and status": {"source": "civ", "statuses": ("failed", "processing")},
    "open": {"open": True},
    "ended": {"open": False},
    "attention": {"attention": "any"},
    "stale": {"stale": True},
    "context": {"context": {"team": "red"}},
    "since": {"since": at(5000)},
    "until": {"until": at(5000)},
    "a whole id": {"q": "wf-19999"},
    "step type": {"step_type": "imageGen"},
}


async def test_no_filter_reads_a_big_table_from_end_to_end(postgres_database: Database) -> None:
    database = postgres_database
    await fill(database)
    found = {}
    for name, given in FILTERS.items():
        async with database.read() as connection:
            # Small as these tables are, reading one whole may be cheapest: what matters is that there is another way.
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            query = workflow_query(WorkflowFilter(**given), NOW, "postgresql")
            plan = [row[0] for row in await connection.execute(Explain(query))]
        found[name] = [line.strip() for line in plan if any(f"Seq Scan on {table}" in line for table in BIG)]
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("q", ["wf-1999", "job-77", "blob-12"])
async def test_ids_and_their_beginnings_are_found(postgres_database: Database, q: str) -> None:
    await fill(postgres_database)
    async with postgres_database.read() as connection:
        rows = (await connection.execute(workflow_query(WorkflowFilter(q=q), NOW, "postgresql"))).all()
    assert rows
