"""A budget that several reconcilers share, and the pause a 429 asks for, over real HTTP on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.ledger.database import Database
from reconciler.crew import Crew
from reconciler.loop import run_pass
from reconciler.ondemand import look_now
from reconciler.passes import PassReport
from tests.reconciler.tasks_world import TasksWorld, callback, job, most_within
from tests.reconciler.world import Upstream, daemons, until

WINDOW = timedelta(seconds=1)
Make = Callable[..., TasksWorld]


@pytest.fixture
def make(database: Database, database_url: str, tmp_path: Path, upstream: Upstream) -> Make:
    def made(*lines: str, source: str = "beeble") -> TasksWorld:
        return TasksWorld.made(source, database, database_url, upstream.base_url, tmp_path, *lines)

    return made


def no_list(upstream: Upstream) -> None:
    """Let there be no list of jobs, so that each is asked about by itself."""
    upstream.answers["/generations"] = (404, {"error": {"code": "JOB_NOT_FOUND", "message": "no such thing"}})


async def test_three_reconcilers_never_send_more_than_the_budget_in_any_window(make: Make, upstream: Upstream) -> None:
    world = make('budget = "5/s"')
    no_list(upstream)
    names = [f"swx_{n:02}" for n in range(16)]
    for n, name in enumerate(names):
        upstream.answers[f"/{name}"] = (200, job(name, "failed" if n % 4 == 0 else "completed"))
    await world.deliver(*(callback(name, "failed" if n % 4 == 0 else "completed") for n, name in enumerate(names)))
    upstream.pause = 0.15
    async with daemons(world, 3):
        await until(lambda: world.settled(16), seconds=30)
    assert most_within(upstream.seen, WINDOW) <= 5
    assert {path for path, _ in singles(upstream)} == set(names)
    assert list((await world.statuses()).values()).count("failed") == 4


def singles(upstream: Upstream) -> list[tuple[str, str]]:
    """The looks at one job each: its id and the method."""
    paths = [(one.path.rpartition("/")[2], one.method) for one in upstream.seen]
    return [pair for pair in paths if pair[0] != "generations"]


async def test_a_claim_takes_no_more_checks_than_it_may_send(make: Make, upstream: Upstream) -> None:
    world = make('budget = "5/min"')
    upstream.answers["/generations"] = (200, {"jobs": [], "next_page_token": None})
    for n in range(20):
        upstream.answers[f"/swx_{n}"] = (200, job(f"swx_{n}"))
    await world.deliver(*(callback(f"swx_{n}") for n in range(20)))
    report = await run_pass(world.config, world.database, world.redactor)
    assert len(upstream.seen) == 4  # one of the five is kept for who waits
    assert report.counts["looks"] == 3  # the list told of none of them
    checks = [await world.check(f"swx_{n}") for n in range(20)]
    assert {(check.leased_until, check.memory.attempts) for check in checks} == {(None, 0)}
    await world.want("swx_7")
    await run_pass(world.config, world.database, world.redactor)
    assert singles(upstream)[-1][0] == "swx_7"
    assert len(upstream.seen) == 5
    await world.want("swx_8")
    await run_pass(world.config, world.database, world.redactor)
    assert len(upstream.seen) == 5


async def test_an_idle_budget_writes_nothing(make: Make, upstream: Upstream) -> None:
    world = make('budget = "1/min"')
    upstream.answers["/swx_1"] = (200, job("swx_1"))
    await world.deliver(callback("swx_1"))
    await run_pass(world.config, world.database, world.redactor)
    await world.deliver(callback("swx_2"))
    before = await world.shared()
    crew = Crew(world.config, world.database, world.redactor, PassReport("cron"))
    async with crew, world.database.write() as connection:
        # Whoever would write now would have to wait for us.
        await connection.exec_driver_sql("UPDATE source_state SET clock_offset = clock_offset")
        assert await asyncio.wait_for(crew.claim(), 0.5) == 0
    assert await world.shared() == before


async def test_a_person_who_asks_by_name_counts_as_well(make: Make, upstream: Upstream) -> None:
    world = make('budget = "1/min"')
    upstream.answers["/swx_1"] = (200, job("swx_1"))
    await world.deliver(callback("swx_1"))
    args = (world.config, world.database, world.redactor, "beeble", "swx_1")
    first = await look_now(*args)
    assert (first.failed, first.status) == (False, "succeeded")
    second = await look_now(*args, patience=0.5)
    assert second.failed
    assert "may not be asked more just now" in second.message
    assert len(upstream.seen) == 1


async def test_hints_get_a_fifth_of_the_budget_and_no_more(make: Make, upstream: Upstream) -> None:
    world = make('budget = "10/min"', "concurrency = 50")
    no_list(upstream)
    await world.deliver(*(callback(f"forged_{n}") for n in range(30)), hint=True)
    for _ in range(3):
        await run_pass(world.config, world.database, world.redactor)
    assert len(upstream.seen) == 2
    assert await world.statuses() == {}


async def test_a_429_pauses_the_source_for_all_and_charges_nobody(make: Make, upstream: Upstream) -> None:
    world = make('budget = "100/min"')
    no_list(upstream)
    busy = {"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "too many"}}
    for n in range(6):
        upstream.answers[f"/swx_{n}"] = (429, busy, {"retry-after": "3"})
    await world.deliver(*(callback(f"swx_{n}") for n in range(6)))
    report = await run_pass(world.config, world.database, world.redactor)
    assert report.counts["busy"] >= 1
    asked = len(upstream.seen)
    for n in range(6):
        check = await world.check(f"swx_{n}")
        assert (check.memory.attempts, check.leased_until) == (0, None)
        upstream.answers[f"/swx_{n}"] = (200, job(f"swx_{n}"))
    async with daemons(world, 2):  # neither was told by upstream
        await world.want("swx_0")
        await asyncio.sleep(1)
        assert len(upstream.seen) == asked
        await until(lambda: world.settled(6), seconds=10)


async def test_without_a_budget_a_429_counts_as_a_try_and_pauses_all_the_same(make: Make, upstream: Upstream) -> None:
    world = make(source="evolink")
    name = "task-unified-1757169743-8dxnm6yz"
    upstream.answers[f"/{name}"] = (429, {"error": {"code": 429, "message": "slow down"}}, {"retry-after": "20"})
    await world.track({"id": name, "status": "pending", "created": 1757169743})
    await run_pass(world.config, world.database, world.redactor)
    assert (await world.check(name)).memory.attempts == 1
    assert (await world.shared()).busy_until is not None
    await world.want(name)
    await run_pass(world.config, world.database, world.redactor)
    assert len(upstream.seen) == 1
