"""The figures equal an exact count, whatever happened, in whatever batches, with folding and crashes in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from receiver.ledger import attention, figures, tallies
from receiver.ledger.apply import apply
from receiver.ledger.attention import Concern
from receiver.ledger.database import Database
from receiver.ledger.derived import figure_deltas
from receiver.ledger.records import EvidenceKind, Trust
from receiver.ledger.tables import (
    attention as attention_table,
)
from receiver.ledger.tables import delivery_keys, evidence, past_runs, transitions, workflows
from tests.ledger.applying import answer, claim_one, delivery, put, saw
from tests.ledger.histories import arrivals, at, histories
from tests.ledger.test_order_on_databases import entry_of

FOREVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC))


@pytest.fixture
def opened(database_url):
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(database_url))
        yield runner, database
        runner.run(database.close())


async def exact(database: Database):
    """Count the whole ledger: totals by source, series by source and minute."""
    totals, series = {}, {}
    async with database.read() as connection:
        rows = {table: (await connection.execute(select(table))).all() for table in (
            workflows, past_runs, attention_table, evidence, delivery_keys, transitions,
        )}  # fmt: skip
    source_of = {row.pk: row.source for row in rows[workflows]}

    def add(source, moment, name, number=1):
        minute = moment.replace(second=0, microsecond=0)
        series.setdefault(source, {}).setdefault(minute, Counter())[name] += number

    for row in rows[workflows]:
        totals.setdefault(row.source, Counter())[f"status.{row.status}"] += 1
        add(row.source, row.first_seen_at, "created")
    for row in [*rows[workflows], *rows[past_runs]]:
        if row.finished_at is not None:
            source = row.source if hasattr(row, "source") else source_of[row.workflow]
            told = (row.status, row.finished_at, row.finished_via, row.completed_at, row.ending_delivered_at)
            for name in figures.ending(*told, timedelta(0)):
                add(source, row.finished_at, name)
    for row in rows[attention_table]:
        if row.closed_at is None:
            totals.setdefault(row.source, Counter())[f"attention.{row.kind}"] += 1
    for row in rows[evidence]:
        if row.kind == EvidenceKind.DELIVERY:
            add(row.source, row.recorded_at, f"deliveries.{row.outcome}")
    for row in rows[transitions]:
        name = {"contradiction": "contradictions", "retracted": "retracted", "corrected": "corrected"}.get(row.kind)
        if name:
            add(source_of[row.workflow], row.recorded_at, name)
    again = sum(row.count - 1 for row in rows[delivery_keys])
    return {source: dict(counts) for source, counts in totals.items()}, series, again


async def told(database: Database):
    async with database.read() as connection:
        return await tallies.totals(connection), await tallies.series(connection, *FOREVER, "minute")


async def assert_exact(database: Database) -> None:
    (totals, series), (exact_totals, exact_series, again) = await told(database), await exact(database)
    assert {source: counts for source, counts in totals.items() if counts} == exact_totals
    duplicates = [here.pop("deliveries.duplicate", 0) for minutes in series.values() for here in minutes.values()]
    assert sum(duplicates) == again
    without_empty = {s: {at: c for at, c in minutes.items() if c} for s, minutes in series.items()}
    assert without_empty == {s: {at: dict(c) for at, c in m.items()} for s, m in exact_series.items()}


names = (f"wf-{n}" for n in count())


async def play(database: Database, entries, cuts, chores) -> None:
    """Apply entries in batches; between them fold, lose a batch before its commit, or fold and crash."""
    edges = sorted({0, len(entries), *(cut % (len(entries) + 1) for cut in cuts)})
    for (start, end), chore in zip(pairwise(edges), [*chores, *["none"] * len(edges)], strict=False):
        if chore == "lost":
            with suppress(ZeroDivisionError):
                async with database.write() as connection:
                    await apply(connection, entries[start:end], entries[end - 1].at)
                    raise ZeroDivisionError
        async with database.write() as connection:
            await apply(connection, entries[start:end], entries[end - 1].at)
        if chore == "fold":
            async with database.write() as connection:
                await tallies.fold(connection)
        if chore == "crash":
            with suppress(ZeroDivisionError):
                async with database.write() as connection:
                    await tallies.fold(connection)
                    raise ZeroDivisionError


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.data(), st.lists(histories(), min_size=1, max_size=3), st.booleans(),
    st.lists(st.integers(0, 40), max_size=5), st.lists(st.sampled_from(["none", "fold", "crash", "lost"]), max_size=6),
)  # fmt: skip
def test_the_figures_equal_an_exact_count(opened, data, found, looks, cuts, chores):
    runner, database = opened
    entries = []
    for history in found:
        name = next(names)
        entries += [entry_of(one, name, Trust.TOKEN) for one in arrivals(data.draw, history, looks=looks)]
    entries.sort(key=lambda entry: entry.at)
    runner.run(play(database, entries, cuts, chores))
    runner.run(assert_exact(database))


async def test_batches_of_many_writers_and_of_janitors_at_once_leave_exact_figures(database: Database) -> None:
    async def writer(number: int) -> None:
        for second in range(12):
            status = ("processing", "succeeded", "failed")[second % 3]
            await put(database, delivery(second * 30, saw(status), wf=f"own-{number}-{second % 4}"), now=second * 30)

    async def janitor() -> None:
        for _ in range(10):
            async with database.write() as connection:
                await tallies.fold(connection)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(writer(n) for n in range(4)), janitor(), janitor())
    await assert_exact(database)
    async with database.write() as connection:
        assert await tallies.fold(connection) >= 0
    await assert_exact(database)
    async with database.read() as connection:
        assert (await connection.execute(select(figure_deltas.c.id))).all() == []


async def test_attention_that_is_opened_closed_or_forgotten_is_counted(database: Database) -> None:
    await put(database, delivery(0, saw("processing")), now=0)
    await put(database, delivery(1, wf="other"), now=1)  # not understood: attention of a delivery
    async with database.write() as connection:
        for kind in ("overdue", "gone"):
            await attention.raise_concerns(connection, [Concern("source", "civ", "", kind)], at(2))
        await attention.raise_concerns(connection, [Concern("source", "civ", "", "gone")], at(3))
    await assert_exact(database)
    async with database.write() as connection:
        await attention.close(connection, "source", "civ", "", ["gone"], at(4))
    await assert_exact(database)
    totals, _ = await told(database)
    assert totals["civ"] == {"status.processing": 1, "attention.overdue": 1, "attention.unreadable": 1}


async def test_a_forgotten_workflow_leaves_the_totals_and_what_happened_stays_counted(database: Database) -> None:
    await put(database, delivery(0, saw("succeeded")), now=0)
    async with database.write() as connection:
        await connection.execute(workflows.delete())
    totals, series = await told(database)
    assert totals["civ"] == {}
    assert sum(counts.get("ended.succeeded", 0) for counts in series["civ"].values()) == 1


async def test_an_ending_nobody_delivered_counts_as_undelivered_until_it_is_delivered(database: Database) -> None:
    await put(database, delivery(0, saw("processing")), now=0)
    claim = await claim_one(database, 200)
    await put(database, answer(200, claim, saw("succeeded", completed_at=at(190))), now=200)
    _, series = await told(database)
    (ended,) = [counts for counts in series["civ"].values() if "ended.succeeded" in counts]
    assert (ended["undelivered"], ended["learned.look"]) == (1, 1)
    (lag,) = [name for name in ended if name.startswith("lag.")]
    low, high = figures.bounds_of(int(lag.removeprefix("lag.")))
    assert low <= 10 <= high
    await put(database, delivery(260, saw("succeeded"), body=b"late"), now=260)
    await assert_exact(database)
    _, series = await told(database)
    assert all("undelivered" not in counts for counts in series["civ"].values())


async def test_a_recount_mends_totals_that_rows_from_elsewhere_made_wrong(database: Database) -> None:
    await put(database, delivery(0, saw("succeeded")), delivery(0, saw("failed"), wf="b"), now=0)
    async with database.write() as connection:
        await connection.execute(workflows.update().where(workflows.c.id == "b").values(status="expired"))
    assert (await told(database))[0]["civ"]["status.failed"] == 1
    async with database.write() as connection:
        await tallies.recount(connection)
    await assert_exact_totals(database)


async def assert_exact_totals(database: Database) -> None:
    assert (await told(database))[0] == (await exact(database))[0]


@pytest.mark.parametrize("lag", [0, 0.004, 0.01, 0.011, 1, 59.9, 86400, -0.5, -3600])
def test_a_lag_lies_within_the_bounds_of_its_bucket(lag: float) -> None:
    low, high = figures.bounds_of(figures.bucket_of(lag))
    assert low <= lag <= high
