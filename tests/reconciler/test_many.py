"""One request that answers for many checks: a list (Beeble) or a batch (EvoLink), over real HTTP on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.ledger.database import Database, now
from receiver.ledger.tables import checks as table
from reconciler.crew import Crew
from reconciler.loop import run_pass
from reconciler.passes import PassReport
from tests.reconciler.tasks_world import TasksWorld, callback, job
from tests.reconciler.world import Upstream, until

Make = Callable[..., TasksWorld]


@pytest.fixture
def make(database: Database, database_url: str, tmp_path: Path, upstream: Upstream) -> Make:
    def made(*lines: str, source: str = "beeble") -> TasksWorld:
        return TasksWorld.made(source, database, database_url, upstream.base_url, tmp_path, *lines)

    return made


def listed(upstream: Upstream, *jobs: dict[str, Any]) -> None:
    upstream.answers["/generations"] = (200, {"jobs": list(jobs), "next_page_token": None})


def paths(upstream: Upstream) -> list[str]:
    return [one.path.rpartition("/")[2] for one in upstream.seen]


async def one_pass(world: TasksWorld) -> PassReport:
    return await run_pass(world.config, world.database, world.redactor)


async def test_one_list_settles_a_hundred_workflows(make: Make, upstream: Upstream) -> None:
    world = make()
    names = [f"swx_{n:03}" for n in range(100)]
    listed(upstream, *(job(name, "failed" if name.endswith("7") else "completed") for name in names))
    await world.deliver(*(callback(name) for name in names))
    report = await one_pass(world)
    assert paths(upstream) == ["generations"]
    assert (report.counts["bulk"], report.counts["shown"]) == (1, 100)
    statuses = await world.statuses()
    assert [name for name, status in statuses.items() if status == "failed"] == [f"swx_{n:02}7" for n in range(10)]
    assert set(statuses.values()) == {"succeeded", "failed"}


async def test_evidence_of_one_workflow_holds_nothing_of_the_others(make: Make, upstream: Upstream) -> None:
    world = make()
    listed(upstream, job("swx_a", prompt="a heron"), job("swx_b", prompt="a secret of somebody else"))
    await world.deliver(callback("swx_a"), callback("swx_b"))
    await one_pass(world)
    first, second = sorted(await world.fetches(), key=lambda row: row.workflow_id)
    assert json.loads(first.body)["prompt"] == "a heron"
    assert b"secret" not in first.body
    assert b"secret" in second.body
    assert first.headers["hookledger-part-of-sha256"] == second.headers["hookledger-part-of-sha256"]


async def test_who_is_missing_is_asked_about_by_itself_and_has_no_404_for_it(make: Make, upstream: Upstream) -> None:
    world = make()
    listed(upstream, job("swx_a"), job("swx_b"))
    upstream.answers["/swx_old"] = (200, job("swx_old"))
    upstream.answers["/swx_gone"] = (404, {"error": {"code": "JOB_NOT_FOUND", "message": "no"}})
    await world.deliver(*(callback(name) for name in ("swx_a", "swx_b", "swx_old", "swx_gone")))
    report = await one_pass(world)
    assert sorted(paths(upstream)) == ["generations", "swx_gone", "swx_old"]
    assert (report.counts["omitted"], report.counts["shown"], report.failed) == (2, 3, 0)
    assert (await world.statuses())["swx_old"] == "succeeded"
    assert (await world.check("swx_gone")).memory.misses == 1  # of its own look
    assert (await world.check("swx_gone")).memory.attempts == 0


async def test_who_was_missing_is_not_asked_about_with_others_again_for_a_while(make: Make, upstream: Upstream) -> None:
    world = make()
    listed(upstream, job("swx_a", "processing"))
    for name in ("swx_x", "swx_y"):
        upstream.answers[f"/{name}"] = (200, job(name, "processing"))
    await world.track(*({"id": name, "status": "in_queue"} for name in ("swx_a", "swx_x", "swx_y")))
    await one_pass(world)
    upstream.seen.clear()
    for name in ("swx_x", "swx_y"):
        await world.want(name)
    await one_pass(world)
    assert sorted(paths(upstream)) == ["swx_x", "swx_y"]


async def test_one_check_alone_is_asked_about_by_itself(make: Make, upstream: Upstream) -> None:
    world = make()
    upstream.answers["/swx_a"] = (200, job("swx_a"))
    await world.deliver(callback("swx_a"))
    await one_pass(world)
    assert paths(upstream) == ["swx_a"]


async def test_fresh_urls_are_asked_for_one_by_one(make: Make, upstream: Upstream) -> None:
    """Whether a list signs URLs afresh is not documented; a look at the job does (UPSTREAMS §2.4)."""
    world = make()
    listed(upstream, job("swx_a"), job("swx_b"))
    await world.deliver(callback("swx_a"), callback("swx_b"))
    await one_pass(world)
    upstream.seen.clear()
    for name in ("swx_a", "swx_b"):
        upstream.answers[f"/{name}"] = (200, job(name))
        await world.want(name)
    await one_pass(world)
    assert sorted(paths(upstream)) == ["swx_a", "swx_b"]


async def test_a_list_that_leaves_out_the_files_settles_the_status_and_makes_a_look_due(
    make: Make, upstream: Upstream
) -> None:
    world = make()
    listed(upstream, job("swx_a", output=None), job("swx_b", "failed"))
    await world.deliver(callback("swx_a"), callback("swx_b"))
    await one_pass(world)
    assert (await world.statuses())["swx_a"] == "succeeded"
    check = await world.check("swx_a")
    assert "doubt" in check.reasons
    assert check.alone_until is not None
    assert (await world.check("swx_b")).due_at is None


async def test_where_upstream_refuses_such_requests_looks_go_on_one_by_one(make: Make, upstream: Upstream) -> None:
    world = make(source="evolink")
    names = [f"task-unified-175716974{n}-8dxnm6yz" for n in range(4)]
    upstream.answers["/tasks/batch"] = (404, {"error": {"code": "not_found", "message": "no such route"}})
    for name in names:
        upstream.answers[f"/{name}"] = (200, task(name, "processing"))
    await world.track(*(task(name, "pending") for name in names))
    async with Crew(world.config, world.database, world.redactor, PassReport("cron")) as crew:
        await crew.claim()
        await until(lambda: not crew.busy)
        assert {(await world.check(name)).memory.attempts for name in names} == {0}  # nothing was tried yet
        await crew.claim()
        await until(lambda: not crew.busy)
        assert sorted(paths(upstream)) == sorted([*names, "batch"])
        for name in names:
            await world.want(name)
        await crew.claim()
        await until(lambda: not crew.busy)
    assert paths(upstream).count("batch") == 1
    assert {(await world.check(name)).alone_until for name in names} == {None}


def task(name: str, status: str) -> dict[str, Any]:
    return {"id": name, "created": 1757169743, "model": "m", "status": status, "progress": 0, "type": "image"}


async def test_a_batch_asks_for_exactly_the_checks_that_are_due(make: Make, upstream: Upstream) -> None:
    world = make(source="evolink")
    names = [f"task-unified-17571697{n:02}-8dxnm6yz" for n in range(60)]
    asked: list[list[str]] = []

    def batch() -> tuple[int, object]:
        asked.append(json.loads(upstream.seen[-1].body)["task_ids"])
        return 200, {"data": [task(name, "failed") | {"error": {"code": "x"}} for name in asked[-1]]}

    upstream.answers["/tasks/batch"] = batch
    await world.track(*(task(name, "pending") for name in names))
    await one_pass(world)
    assert sorted(len(ids) for ids in asked) == [10, 50]
    assert sorted(name for ids in asked for name in ids) == names
    assert set((await world.statuses()).values()) == {"failed"}


async def test_each_reading_is_applied_under_its_own_fence(make: Make, upstream: Upstream) -> None:
    world = make()
    let_go = asyncio.Event()

    async def slow() -> tuple[int, object]:
        await let_go.wait()
        return 200, {"jobs": [job("swx_a", "failed"), job("swx_b", "failed")], "next_page_token": None}

    upstream.answers["/generations"] = slow
    await world.track({"id": "swx_a", "status": "in_queue"}, {"id": "swx_b", "status": "in_queue"})
    async with Crew(world.config, world.database, world.redactor, PassReport("cron")) as crew:
        assert await crew.claim() == 2
        await until(lambda: len(upstream.seen) == 1)
        async with world.database.write() as connection:
            await connection.exec_driver_sql("UPDATE checks SET fence = fence + 1 WHERE id = 'swx_a'")
        let_go.set()
        await until(lambda: not crew.busy)
        assert (crew.report.counts["stale"], crew.report.counts["shown"]) == (1, 2)
    assert await world.statuses() == {"swx_a": "scheduled?", "swx_b": "failed"}


async def test_a_failed_request_for_many_is_tried_again_for_all_together(make: Make, upstream: Upstream) -> None:
    world = make()
    page = b"<html><title>Bad gateway</title></html>"
    upstream.answers["/generations"] = (503, page, {"retry-after": "30"})  # or the next try may be due in the same pass
    names = ("swx_a", "swx_b", "swx_c")
    await world.deliver(*(callback(name) for name in names))
    await one_pass(world)
    checks = [await world.check(name) for name in names]
    assert [check.memory.attempts for check in checks] == [1, 1, 1]
    assert len({check.memory.retry_at for check in checks}) == 1
    assert paths(upstream) == ["generations"]
    assert await world.fetches() == []


async def test_a_refused_key_in_a_list_pauses_the_source_and_charges_nobody(make: Make, upstream: Upstream) -> None:
    world = make()
    upstream.answers["/generations"] = (401, {"error": {"code": "INVALID_API_KEY", "message": "no"}})
    await world.deliver(callback("swx_a"), callback("swx_b"))
    await one_pass(world)
    assert (await world.shared()).paused_because == "credentials"
    assert {(await world.check(name)).memory.attempts for name in ("swx_a", "swx_b")} == {0}


async def test_those_asked_about_alone_and_those_together_take_turns(make: Make, upstream: Upstream) -> None:
    """Where a list holds only the newest, the others must neither use up a small budget nor get nothing of it."""
    world = make('budget = "1/s"')
    old = [f"swx_old{n}" for n in range(150)]
    await world.deliver(*(callback(name) for name in old), ago=timedelta(minutes=10))
    async with world.database.write() as connection:
        later = await now(connection) + timedelta(hours=1)
        await connection.execute(table.update().where(table.c.id.in_(old)).values(alone_until=later))
    for name in old:
        upstream.answers[f"/{name}"] = (200, job(name))
    async with Crew(world.config, world.database, world.redactor, PassReport("cron")) as crew:
        for turn in range(4):
            names = [f"swx_{turn}a", f"swx_{turn}b"]
            listed(upstream, *(job(name) for name in names))
            await world.deliver(*(callback(name) for name in names))
            await until(lambda: _claims(crew))
            await until(lambda: not crew.busy)
    assert [name == "generations" for name in paths(upstream)] == [True, False, True, False]


async def _claims(crew: Crew) -> bool:
    return await crew.claim() > 0
