"""Batches committed by memory leave the ledger that batches leave which ask first, whoever else writes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import attention, checks
from receiver.ledger.apply import apply
from receiver.ledger.attention import Concern
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.entries import Answer, Entry
from receiver.ledger.records import Level, Trust
from receiver.ledger.states import Status
from receiver.ledger.tables import attention as attention_table
from receiver.ledger.tables import checks as checks_table
from receiver.ledger.tables import delivery_keys, evidence, transitions, workflows
from tests.ledger.applying import HINTS, Writer, answer, delivery, loaded, saw
from tests.ledger.histories import arrivals, histories
from tests.ledger.test_order_on_databases import entry_of

names = (f"wf-{n}" for n in count())
MANY_HINTS = replace(HINTS, hint_quota=10**6)
BEGAN = datetime.now(UTC)
DEEDS = ("nothing", "want", "claim", "look", "fail to look", "tell a person", "hint", "lose keys", "forget")


@pytest.fixture
async def writer(postgres_database: Database) -> AsyncIterator[Writer]:
    made = Writer(postgres_database, ahead=True)
    yield made
    await made.close()


async def do(database: Database, deed: str, name: str) -> None:
    """Change something of a workflow behind its writers' backs."""
    async with database.write() as connection:
        now = await database_now(connection)
        if deed == "want":
            await checks.want(connection, "civ", name, None, now)
        elif deed == "tell a person":
            pk = (await connection.execute(select(workflows.c.pk).where(workflows.c.id == name))).scalar()
            await attention.raise_concerns(connection, [Concern("workflow", "civ", name, "overdue", pk)], now)
        elif deed == "lose keys":
            await connection.execute(delete(delivery_keys).where(delivery_keys.c.identity.is_(None)))
        elif deed == "forget":
            mine = select(evidence.c.id).where(evidence.c.workflow_id == name)
            await connection.execute(delete(delivery_keys).where(delivery_keys.c.evidence.in_(mine)))
            await connection.execute(delete(checks_table).where(checks_table.c.id == name))
            await connection.execute(delete(workflows).where(workflows.c.id == name))
            await connection.execute(delete(evidence).where(evidence.c.workflow_id == name))
        elif deed == "hint":
            body = f"hint of {name} {next(names)}".encode()
            hint = delivery(
                1, saw("failed"), wf=name, body=body, trust=Trust.HINT, policy=replace(HINTS, hint_quota=10**6)
            )
            await apply(connection, [hint], now)
        elif deed in ("claim", "look", "fail to look"):
            taken = await checks.claim(
                connection, now, holder="t", lease=timedelta(seconds=90), limits={"civ": 1}, ids=[name]
            )  # fmt: skip
            if taken and deed != "claim":
                seen = (saw("processing"),) if deed == "look" else ()
                how = {} if seen else {"how": Answer.BUSY}
                look = answer(0, taken[0], *seen, **how)
                look.look.evidence = bool(seen)
                await apply(connection, [replace(look, at=now)], now)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return "about now" if value >= BEGAN - timedelta(minutes=1) else value
    return value


async def held(database: Database, name: str) -> dict[str, Any]:
    """Everything the database holds of a workflow, without numbers and ids of rows and the time of day."""
    state = await loaded(database, name)
    found: dict[str, Any] = {"state": None}
    async with database.read() as connection:
        rows = (await connection.execute(select(evidence).where(evidence.c.workflow_id == name))).mappings().all()
        ids = {row["id"]: (row["seq"] or 0, bytes(row["body"] or b"")) for row in rows}
        if state is not None:
            nodes = {"": state.node, **{f"s{k}": n for k, n in state.steps.items()}}
            nodes |= {f"j{k}": n for k, n in state.jobs.items()}
            found["state"] = {
                key: {field: _plain(getattr(node, field)) for field in node.__slots__ if field != "stood"}
                for key, node in nodes.items()
            }
            found["blobs"] = {k: {f: _plain(getattr(b, f)) for f in b.__slots__} for k, b in state.blobs.items()}
            found["own"] = (
                state.run, state.evidence_seq, state.transition_seq, _plain(state.news_at), _plain(state.asked_at),
                _plain(state.ending_delivered_at), state.first_seen_via, state.about,
            )  # fmt: skip
        pk = state.pk if state is not None else -1
        moves = await connection.execute(select(transitions).where(transitions.c.workflow == pk))
        found["moves"] = sorted(
            (m.seq, m.level, m.key, m.from_status or "", m.to_status, m.kind, ids[m.evidence][0]) for m in moves
        )
        found["evidence"] = sorted(
            (row["seq"] or 0, row["kind"], row["outcome"], row["problem"] or "", bytes(row["body"] or b"")[-20:])
            for row in rows
            if row["trust"] != Trust.HINT
        )
        keys = (await connection.execute(select(delivery_keys))).mappings().all()
        found["keys"] = sorted((ids[k["evidence"]][0], k["count"]) for k in keys if k["evidence"] in ids)
        query = select(checks_table).where(checks_table.c.id == name)
        found["checks"] = [
            (sorted(c.reasons), c.lane, _plain(c.due_at), c.wanted_at is None, c.hinted_at is None,
             c.doubted_at is None, c.attempts, c.looks, c.misses, c.hints, c.fence, c.leased_until is None)
            for c in await connection.execute(query)
        ]  # fmt: skip
        query = select(attention_table).where(attention_table.c.subject == name)
        found["attention"] = sorted((a.kind, a.closed_at is None) for a in await connection.execute(query))
    return found


async def play(writers: list[Writer], database: Database, turns: list[tuple[list[Entry], str]], name: str) -> None:
    for place, (entries, deed) in enumerate(turns):
        await writers[place % len(writers)].put(*entries)
        await do(database, deed, name)


@pytest.fixture
def opened(postgres_url):
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(postgres_url))
        yield runner, database
        runner.run(database.close())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.data(), histories(), st.sampled_from([Trust.SIGNED, Trust.TOKEN]), st.lists(st.integers(0, 40), max_size=8),
    st.lists(st.sampled_from(DEEDS), min_size=1, max_size=4), st.integers(1, 2),
)  # fmt: skip
def test_memory_and_asking_leave_the_same_ledger(opened, data, history, trust, cuts, deeds, many):
    runner, database = opened
    found = arrivals(data.draw, history, looks=False)
    assume(found)  # not every event is lost
    edges = sorted({0, len(found), *(cut % (len(found) + 1) for cut in cuts)})
    left, by_memory = [], 0
    for ahead in (False, True):
        name = next(names)
        entries = [entry_of(one, name, trust) for one in found]
        turns = [(entries[a:b], deeds[n % len(deeds)]) for n, (a, b) in enumerate(pairwise(edges))]
        writers = [Writer(database, ahead=ahead) for _ in range(many)]
        runner.run(play(writers, database, turns, name))
        left.append(runner.run(held(database, name)))
        by_memory += sum(writer.ahead.committed for writer in writers if writer.ahead is not None)
        for writer in writers:
            runner.run(writer.close())
    assert left[0] == left[1]
    assert by_memory >= 1


OTHERS = {"another's delivery": saw("succeeded"), "progress": saw("processing", Level.STEP, "$0", progress=0.5)}
WRONG = (
    "want",
    "claim",
    "look",
    "fail to look",
    "tell a person",
    "hint",
    "lose keys",
    "forget",
    "another's delivery",
    "progress",
)


@pytest.mark.parametrize("deed", WRONG)
async def test_whatever_changed_behind_memory_is_noticed_and_nothing_is_written_by_it(
    writer: Writer, deed: str
) -> None:
    def first() -> Entry:
        return delivery(1, saw("processing"), saw("processing", Level.STEP, "$0"))

    await writer.put(first())
    assert (writer.ahead.committed, writer.ahead.mistaken) == (1, 0)
    if deed in OTHERS:
        async with writer.database.write() as connection:
            await apply(connection, [delivery(2, OTHERS[deed], trust=Trust.SIGNED)], datetime.now(UTC))
    else:
        await do(writer.database, deed, "wf")
    await writer.put(first(), delivery(3, saw("failed"), trust=Trust.SIGNED))
    assert (writer.ahead.committed, writer.ahead.mistaken) == (1, 1)
    state = await loaded(writer.database)
    # A look knows better than what was sent before it, and the first of two signed endings stays.
    others = {"another's delivery": Status.SUCCEEDED, "look": Status.PROCESSING}
    assert state.node.status is others.get(deed, Status.FAILED)


async def test_a_workflow_a_key_and_an_identity_that_memory_has_never_met_are_noticed(writer: Writer) -> None:
    async def others(*entries: Entry) -> None:
        async with writer.database.write() as connection:
            await apply(connection, entries, datetime.now(UTC))

    same = delivery(1, saw("processing"), wf="b", body=b"the same")
    for wrong, (theirs, ours) in enumerate([
        (delivery(1, saw("processing"), wf="a"), delivery(2, saw("succeeded"), wf="a")),
        (same, replace(same, workflow_id="c", reading=replace(same.reading, workflow_id="c"))),
        (delivery(1, saw("processing"), wf="d", identity="i"), delivery(1, saw("scheduled"), wf="e", identity="i")),
    ], 1):  # fmt: skip
        await others(theirs)
        await writer.put(ours)
        assert writer.ahead.mistaken == wrong
        while writer.ahead.sits_out:
            await writer.put(delivery(9, saw("processing"), wf=next(names)))
    async with writer.database.read() as connection:
        problems = select(evidence.c.workflow_id).where(evidence.c.problem.is_not(None))
        assert list((await connection.execute(problems)).scalars()) == ["e"]
        counted = select(delivery_keys.c.count).where(delivery_keys.c.key == same.key)
        assert (await connection.execute(counted)).scalar_one() == 2


async def test_a_clock_that_went_wrong_is_noticed_and_set(writer: Writer) -> None:
    await writer.put(delivery(1, saw("scheduled")))
    said, at = writer.ahead.clock
    writer.ahead.clock = (said - timedelta(seconds=30), at)
    await writer.put(delivery(2, saw("processing")))
    assert (writer.ahead.committed, writer.ahead.mistaken) == (1, 1)
    await writer.put(delivery(3, saw("succeeded")))  # which sits out
    await writer.put(delivery(4, saw("succeeded"), body=b"again"))
    assert writer.ahead.committed == 2
    state = await loaded(writer.database)
    assert abs(state.node.finished_at - datetime.now(UTC)) < timedelta(seconds=20)


async def _until_waiting(connection: AsyncConnection) -> None:
    """Return when a statement waits for a lock, which it does not do for long."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    for _ in range(1000):
        if (await connection.exec_driver_sql(waiting)).scalar_one():
            return
    raise AssertionError("nothing waits for the lock")


async def test_what_was_committed_while_the_statement_waited_for_the_lock_is_noticed(writer: Writer) -> None:
    await writer.put(delivery(1, saw("processing")))
    async with writer.database.write() as connection:
        await apply(connection, [delivery(2, saw("succeeded"), trust=Trust.SIGNED)], datetime.now(UTC))
        ours = asyncio.create_task(writer.put(delivery(3, saw("failed"), trust=Trust.SIGNED)))
        await _until_waiting(connection)
    await ours
    assert writer.ahead.mistaken == 1
    state = await loaded(writer.database)
    assert (state.node.status, state.evidence_seq) == (Status.SUCCEEDED, 3)


async def test_a_writer_whose_memory_is_always_wrong_asks_first_nearly_always(postgres_database: Database) -> None:
    writers = [Writer(postgres_database, ahead=True) for _ in range(2)]
    for n in range(60):
        await writers[n % 2].put(delivery(n, saw("processing", Level.JOB, f"j{n}")))
    for writer in writers:
        assert writer.ahead.mistaken <= 6
        await writer.close()
    state = await loaded(postgres_database)
    assert (state.evidence_seq, len(state.jobs)) == (60, 60)


async def test_what_takes_more_than_one_statement_goes_the_usual_way(writer: Writer) -> None:
    await writer.put(delivery(1, saw("processing")))
    (unread,) = await writer.put(delivery(2))
    assert (unread.outcome, writer.ahead.committed) == ("quarantined", 1)
    await writer.put(delivery(3, saw("succeeded"), policy=replace(HINTS, trust=Trust.TOKEN, collect=True)))
    (nameless,) = await writer.put(delivery(4, saw("processing"), wf=""))
    assert nameless.outcome == "quarantined"  # no workflow was tracked with the ref of its URL
    assert (writer.ahead.committed, writer.ahead.mistaken) == (1, 0)
    assert await loaded(writer.database, "") is None
