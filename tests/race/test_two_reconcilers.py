"""Two and three reconcilers on one PostgreSQL: no workflow is asked about by two, and a frozen one does no harm."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from receiver.ledger.database import Database
from receiver.ledger.tables import checks, evidence, jobs, steps, transitions, workflows
from receiver.sandbox.civitai import RunningCivitai, running_civitai
from tests.staging.programs import KEY, Program, Stage
from tests.staging.registering import register
from tests.staging.soundness import rows, unsound
from tests.staging.upstream import differences, image, submit
from tests.staging.waiting import until

pytestmark = [pytest.mark.race, pytest.mark.timeout(180)]

SOURCE = ('deadline = "30d"', 'keep_fresh = "0"')
# Between two looks at fresh work lie two seconds at least (UPSTREAMS §1.4); clocks and a busy machine blur that.
SPACING = 1.8


async def test_two_daemons_share_the_work_and_no_workflow_is_asked_about_by_both(
    postgres_url: str, tmp_path: Path
) -> None:
    """Hundreds have ended already and need one look each; some live on for seconds, and are polled."""
    server = ('lease = "20s"', 'item = "10s"')
    async with running_civitai(speed=200, api_key=KEY, latency=0.15) as civitai, aiohttp.ClientSession() as session:
        stage = Stage.made(tmp_path, postgres_url, civitai.base_url, server=server, source=SOURCE)
        ended = [await submit(session, civitai, image()) for _ in range(300)]
        living = [await submit(session, civitai, image(hold=True)) for _ in range(20)]
        database = await Database.open(postgres_url)
        try:
            await register(stage, database, ended + living)
            async with (
                stage.running("one", "reconcile", "--watch") as one,
                stage.running("two", "reconcile", "--watch") as two,
            ):
                await until(lambda: polled(civitai, living), 40, every=0.1)
                for workflow in living:
                    civitai.finish(workflow["id"])
                await until(lambda: settled(database), 40, every=0.1)
                assert (await one.stop(), await two.stop()) == (0, 0)
            assert_shared(one, two, {workflow["id"] for workflow in ended})
            assert_never_together(civitai, {workflow["id"] for workflow in ended})
            assert await differences(database, civitai) == []
            assert await unsound(database) == []
            assert {row.problem for row in await rows(database, evidence)} == {None}
        finally:
            await database.close()


def assert_shared(one: Program, two: Program, ended: set[str]) -> None:
    """Both worked, and of what needed one look each neither did what the other had."""
    shares = [[line["id"] for line in each.said("fetch") if line["id"] in ended] for each in (one, two)]
    print(f"\none looked at {len(shares[0])}, two at {len(shares[1])} of {len(ended)}")
    assert min(len(share) for share in shares) > 10
    assert sorted(shares[0] + shares[1]) == sorted(ended)


def assert_never_together(civitai: RunningCivitai, ended: set[str]) -> None:
    """By upstream's own log: one request for each that had ended, and for the others never two at a time."""
    asked: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in civitai.log()["requests"]:
        if line["method"] == "GET":
            began = datetime.fromisoformat(line["time"]).timestamp()
            asked[line["path"].rpartition("/")[2]].append((began, began + line["ms"] / 1000))
    assert {name for name, times in asked.items() if len(times) == 1} >= ended
    living = [sorted(times) for name, times in asked.items() if name not in ended]
    assert min(later[0] - earlier[0] for times in living for earlier, later in pairwise(times)) > SPACING


def polled(civitai: RunningCivitai, living: list[dict[str, Any]]) -> bool:
    """Whether each of these was asked about twice."""
    asked = Counter(line["path"].rpartition("/")[2] for line in civitai.log()["requests"])
    return all(asked[one["id"]] >= 2 for one in living)


async def settled(database: Database) -> bool:
    return all(row.due_at is None for row in await rows(database, checks))


LEASE, LATENCY, COUNT = 4.0, 1.0, 8
SLACK = 2.5


async def test_a_daemon_frozen_in_mid_fetch_delays_by_one_lease_and_its_late_answer_is_not_applied(
    postgres_url: str, tmp_path: Path
) -> None:
    """The frozen one has been told "processing"; meanwhile the other learns the end; then the first one wakes."""
    async with running_civitai(speed=200, api_key=KEY, latency=LATENCY) as civitai:
        stage, database, names = await held_workflows(postgres_url, tmp_path, civitai)
        try:
            async with stage.running("frozen", "reconcile", "--watch") as frozen:
                await until(lambda: all_leased(database), 20)
                await asyncio.sleep(LATENCY / 2)
                frozen.freeze()
                async with stage.running("free", "reconcile", "--watch") as free:
                    await asyncio.sleep(LATENCY)
                    for name in names:
                        civitai.finish(name)
                    await until(lambda: settled(database), 30)
                    before = await everything(database)
                    frozen.thaw()
                    await until(lambda: len(frozen.said("look-too-late")) == COUNT, 15)
                    await asyncio.sleep(1)
                    assert [await free.stop(), await frozen.stop()] == [0, 0]
            assert_one_lease(civitai)
            await assert_nothing_came_of_it(database, before)
            assert await differences(database, civitai) == []
            assert await unsound(database) == []
        finally:
            await database.close()


async def test_an_answer_that_waited_for_its_row_until_another_had_the_check_is_kept_and_not_applied(
    postgres_url: str, tmp_path: Path
) -> None:
    """Somebody holds the rows of the workflows until the lease has ended and the other has asked as well."""
    async with running_civitai(speed=200, api_key=KEY) as civitai:
        stage, database, names = await held_workflows(postgres_url, tmp_path, civitai)
        try:
            # A pass that takes no more than these: a daemon with room left would take its own checks anew by itself.
            limited = ("reconcile", "--limit", str(COUNT))
            async with stage.running("late", *limited) as late, holding_rows(postgres_url) as let_go:
                await until(lambda: len(late.said("fetch")) == COUNT, 20)
                claims = {row.id: row.fence for row in await rows(database, checks)}
                for name in names:
                    civitai.finish(name)
                async with stage.running("next", "reconcile", "--watch") as following:
                    await until(lambda: len(following.said("fetch")) == COUNT, 20)
                    await let_go()
                    await until(lambda: len(late.said("look-too-late")) == COUNT, 15)
                    await until(lambda: settled(database), 20)
                    assert [await late.ended(20), await following.stop()] == [0, 0]
            told = [row for row in await rows(database, evidence) if row.kind == "fetch"]
            kept = [row.outcome for row in told if row.problem and "its lease had ended" in row.problem]
            assert kept == ["recorded"] * COUNT
            assert [row.outcome for row in told if row.problem is None] == ["applied"] * COUNT
            assert claims != {row.id: row.fence for row in await rows(database, checks)}
            assert await differences(database, civitai) == []
            assert await unsound(database) == []
        finally:
            await database.close()


async def test_a_daemon_frozen_while_it_writes_is_fenced_off_when_it_is_thawed_and_nothing_is_applied_twice(
    postgres_url: str, tmp_path: Path
) -> None:
    """Three processes: the first is stopped past its lease with its answers on their way into the ledger; two go on."""
    async with running_civitai(speed=200, api_key=KEY) as civitai:
        stage, database, names = await held_workflows(postgres_url, tmp_path, civitai)
        try:
            limited = ("reconcile", "--limit", str(COUNT))
            async with stage.running("frozen", *limited) as frozen, holding_rows(postgres_url) as let_go:
                await until(lambda: len(frozen.said("fetch")) == COUNT, 20)
                frozen.freeze()
                for name in names:
                    civitai.finish(name)
                async with (
                    stage.running("two", "reconcile", "--watch") as two,
                    stage.running("three", "reconcile", "--watch") as three,
                ):
                    await until(lambda: len(two.said("fetch")) + len(three.said("fetch")) == COUNT, 20)
                    await let_go()
                    frozen.thaw()
                    await until(lambda: len(frozen.said("look-too-late")) == COUNT, 15)
                    await until(lambda: settled(database), 20)
                    assert [await frozen.ended(20), await two.stop(), await three.stop()] == [0, 0, 0]
            told = [row for row in await rows(database, evidence) if row.kind == "fetch"]
            late = [row for row in told if row.problem and "its lease had ended" in row.problem]
            assert [row.outcome for row in late] == ["recorded"] * COUNT
            assert [row.outcome for row in told if row.problem is None] == ["applied"] * COUNT
            ends = Counter(row.workflow for row in await rows(database, transitions) if row.to_status == "succeeded"
                           and row.level == "workflow")  # fmt: skip
            assert set(ends.values()) == {1}
            assert len(ends) == COUNT
            assert await differences(database, civitai) == []
            assert await unsound(database) == []
        finally:
            await database.close()


async def held_workflows(url: str, folder: Path, civitai: RunningCivitai) -> tuple[Stage, Database, list[str]]:
    """Register workflows that run until they are finished by hand, and are due to be looked at."""
    server = (f'lease = "{LEASE:g}s"', 'item = "3s"')
    source = (*SOURCE, f"concurrency = {2 * COUNT}")
    stage = Stage.made(folder, url, civitai.base_url, server=server, source=source)
    async with aiohttp.ClientSession() as session:
        submitted = [await submit(session, civitai, image(hold=True, seconds=1)) for _ in range(COUNT)]
    await asyncio.sleep(0.1)
    database = await Database.open(url)
    await register(stage, database, submitted)
    civitai.sandbox.requests.clear()
    return stage, database, [one["id"] for one in submitted]


async def all_leased(database: Database) -> bool:
    return all(row.leased_by is not None for row in await rows(database, checks))


@asynccontextmanager
async def holding_rows(url: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Hold the lock of every workflow's row; gives what lets go of them."""
    connection = await asyncpg.connect(url)
    try:
        held = connection.transaction()
        await held.start()
        await connection.execute("SELECT 1 FROM workflows FOR UPDATE")
        yield held.commit
    finally:
        await connection.close()


async def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return what the ledger holds to be true and plans to do; how much evidence there is, is not part of it."""
    tables = (workflows, steps, jobs, transitions, checks)
    found = {table.name: [dict(row._mapping) for row in await rows(database, table)] for table in tables}
    for row in found["workflows"]:
        del row["evidence_seq"]
    return {name: sorted(held, key=str) for name, held in found.items()}


def assert_one_lease(civitai: RunningCivitai) -> None:
    """By upstream's log: asked again after the lease, and not long after it."""
    asked: dict[str, list[datetime]] = defaultdict(list)
    for line in civitai.log()["requests"]:
        asked[line["path"]].append(datetime.fromisoformat(line["time"]))
    gaps = [sorted(times)[1] - sorted(times)[0] for times in asked.values()]
    print(f"\nasked again after {min(gaps)} to {max(gaps)}, the lease being {LEASE:g} s")
    assert len(gaps) == COUNT
    assert min(gaps) > timedelta(seconds=LEASE - 0.5), "a lease was not respected"
    assert max(gaps) < timedelta(seconds=LEASE + SLACK)


async def assert_nothing_came_of_it(database: Database, before: dict[str, list[dict[str, Any]]]) -> None:
    """What the frozen one brought changed neither status nor plan; at most it is kept, as what it is."""
    assert await everything(database) == before
    told = [row for row in await rows(database, evidence) if row.kind == "fetch"]
    late = [row for row in told if row.outcome != "applied"]
    print(f"{len(late)} late answers kept, {COUNT - len(late)} timed out while their process was frozen")
    assert len(told) - len(late) == COUNT
    assert all("its lease had ended" in row.problem for row in late)
