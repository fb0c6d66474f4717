"""Backfill: what no callback mentioned is found by listing, once, whatever interrupts it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from receiver.ledger.database import Database
from receiver.ledger.operations import chores, passes
from receiver.ledger.tables import blobs, checks, evidence, workflows
from receiver.replaying import Replay
from reconciler.backfill import BackfillReport, CannotList, backfill
from tests.reconciler.tasks_world import TasksWorld, job
from tests.reconciler.test_commands import hookledger
from tests.reconciler.world import Upstream, World, document, image, until

DAY = timedelta(days=1)
Make = Callable[..., TasksWorld]


def pages(upstream: Upstream, *found: list[dict[str, Any]], fail_at: int | None = None, key: str = "items") -> None:
    """Answer listings with these pages, by cursor; the page `fail_at` with 503, to be asked for again much later."""

    async def one() -> Any:
        query = parse_qs(upstream.seen[-1].query)
        place = int(query.get("cursor", query.get("page_token", ["0"]))[0])
        if place == fail_at:
            return 503, {"title": "Down"}, {"retry-after": "30"}
        following = str(place + 1) if place + 1 < len(found) else None
        return 200, {key: found[place], "next": following, "next_page_token": following}

    upstream.answers["/workflows"] = upstream.answers["/generations"] = one


async def run(world: World | TasksWorld, source: str = "civitai", **more: Any) -> BackfillReport:
    report = await backfill(world.config, world.database, world.redactor, source, DAY, **more)
    assert report is not None
    return report


async def rows(database: Database, table: Any) -> list[Any]:
    async with database.read() as connection:
        return list(await connection.execute(table.select()))


async def test_unknown_workflows_are_adopted_and_known_ones_brought_forward(world: World, upstream: Upstream) -> None:
    await world.track("known")
    pages(upstream, [document("new-1"), document("known", "processing")], [document("new-2", "failed")])
    report = await run(world)
    assert (report.outcome, report.pages, report.listed, report.adopted, report.forward) == ("done", 2, 3, 2, 1)
    found = {row.id: (row.status, row.first_seen_via) for row in await rows(world.database, workflows)}
    assert found == {
        "new-1": ("succeeded", "backfill"), "new-2": ("failed", "backfill"), "known": ("processing", "track"),
    }  # fmt: skip
    (kept,) = [row for row in await rows(world.database, evidence) if row.workflow_id == "new-1"]
    assert json.loads(kept.body)["id"] == "new-1"
    assert b"new-2" not in kept.body


async def test_the_window_is_a_look_back_that_ends_a_minute_ago(world: World, upstream: Upstream) -> None:
    pages(upstream, [])
    await run(world)
    query = parse_qs(upstream.seen[0].query)
    since, to = (datetime.fromisoformat(query[name][0]) for name in ("fromDate", "toDate"))
    assert timedelta(0) <= datetime.now(UTC) - timedelta(minutes=1) - to < timedelta(seconds=30)
    assert abs(to - since - (DAY - timedelta(minutes=1))) < timedelta(seconds=1)


async def test_the_same_again_writes_nothing_but_that_it_ran(world: World, upstream: Upstream) -> None:
    pages(upstream, [document("wf")])
    await run(world)
    before = [await rows(world.database, table) for table in (workflows, evidence, checks)]
    report = await run(world)
    assert (report.adopted, report.known) == (0, 1)
    assert [await rows(world.database, table) for table in (workflows, evidence, checks)] == before
    noted = [(row.kind, row.outcome, row.ended_at is not None) for row in await rows(world.database, passes)]
    assert noted == [("backfill", "done", True)] * 2


async def test_a_run_that_was_interrupted_is_gone_on_with_at_the_page_that_was_next(
    world: World, upstream: Upstream
) -> None:
    found = [[document(f"wf-{n}")] for n in range(4)]
    pages(upstream, *found, fail_at=2)
    stop = asyncio.Event()
    running = asyncio.create_task(run(world, stop=stop))

    async def stuck() -> bool:
        return len(upstream.seen) >= 3

    await until(stuck, 20)
    stop.set()
    assert (await running).outcome == "stopped"
    pages(upstream, *found)
    upstream.seen.clear()
    report = await run(world)
    assert (report.resumed, report.outcome, report.adopted) == (True, "done", 2)
    assert parse_qs(upstream.seen[0].query)["cursor"] == ["2"]
    assert len(await rows(world.database, workflows)) == 4
    (kept,) = await rows(world.database, chores)
    assert (kept.outcome, kept.progress, kept.leased_by) == ("done", None, None)


async def test_what_was_killed_is_gone_on_with_once_its_lease_is_over(world: World, upstream: Upstream) -> None:
    pages(upstream, [document("wf-0")], [document("wf-1")], fail_at=1)
    running = asyncio.create_task(run(world))

    async def stuck() -> bool:
        return len(upstream.seen) >= 2

    await until(stuck, 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with world.database.write() as connection:  # as a kill leaves it: nobody has said that it ended
        later = datetime.now(UTC) + timedelta(minutes=5)
        await connection.execute(chores.update().values(leased_until=later, leased_by="dead"))
    assert (await run(world)).outcome == "elsewhere"
    async with world.database.write() as connection:
        await connection.execute(chores.update().values(leased_until=datetime.now(UTC) - timedelta(seconds=1)))
    pages(upstream, [document("wf-0")], [document("wf-1")])
    report = await run(world, every=DAY)
    assert (report.resumed, report.adopted) == (True, 1)


async def test_a_listing_that_goes_round_in_a_circle_is_left_after_one_round(world: World, upstream: Upstream) -> None:
    async def one() -> Any:
        place = int(parse_qs(upstream.seen[-1].query).get("cursor", ["0"])[0])
        return 200, {"items": [document(f"wf-{place}")], "next": {0: "1", 1: "2", 2: "1"}[place]}

    upstream.answers["/workflows"] = one
    report = await run(world)
    assert (report.outcome, report.pages, report.adopted) == ("done", 3, 3)
    assert (await rows(world.database, chores))[0].progress is None


async def test_every_says_not_yet(world: World, upstream: Upstream) -> None:
    pages(upstream, [])
    await run(world)
    again = await backfill(world.config, world.database, world.redactor, "civitai", DAY, every=timedelta(minutes=1))
    assert again is None


async def test_a_listing_that_hides_a_file_takes_nothing_away(world: World, upstream: Upstream) -> None:
    ends = datetime.now(UTC) + timedelta(hours=2)
    whole = document("wf", "processing", output={"images": [image("blob-1", "https://x.civitai.com/1?sig=a", ends)]})
    pages(upstream, [whole])
    await run(world)
    hidden = document("wf", "succeeded", output={"images": [{"type": "image", "id": "blob-1", "available": True}]})
    hidden["steps"][0]["output"]["images"][0] |= {"url": None}
    pages(upstream, [hidden])
    report = await run(world)
    assert report.forward == 1
    (blob,) = await rows(world.database, blobs)
    assert blob.available


async def test_a_dry_run_says_what_it_would_take_in_and_changes_nothing(world: World, upstream: Upstream) -> None:
    await world.track("known")
    pages(upstream, [document("new"), document("known", "failed")])
    before = [await rows(world.database, table) for table in (workflows, evidence, checks, passes, chores)]
    report = await run(world, dry_run=True)
    assert report.planned == [
        {"id": "new", "do": "adopt", "status": None, "upstream": "succeeded"},
        {"id": "known", "do": "update", "status": "unassigned", "upstream": "failed"},
    ]
    assert [await rows(world.database, table) for table in (workflows, evidence, checks, passes, chores)] == before


async def test_a_refused_key_pauses_the_source_and_a_paused_one_is_not_asked(world: World, upstream: Upstream) -> None:
    upstream.answers["/workflows"] = (401, {"title": "No"})
    assert (await run(world)).outcome == "upstream"
    assert await world.open_attention() == ["credentials"]
    asked = len(upstream.seen)
    report = await run(world)
    assert (report.outcome, len(upstream.seen)) == ("upstream", asked)
    assert "refuses its key" in report.message


@pytest.fixture
def make(database: Database, database_url: str, tmp_path: Path, upstream: Upstream) -> Make:
    def made(*lines: str, source: str = "beeble") -> TasksWorld:
        return TasksWorld.made(source, database, database_url, upstream.base_url, tmp_path, *lines)

    return made


async def test_a_budget_is_kept_and_half_of_it_left_to_others(make: Make, upstream: Upstream) -> None:
    world = make('budget = "6/s"')
    jobs = [[job(f"swx_{n}")] for n in range(8)]
    pages(upstream, *jobs, key="jobs")
    report = await run(world, "beeble")
    assert (report.outcome, report.adopted) == ("done", 8)
    times = [one.at for one in upstream.seen]
    assert max(sum(first <= at < first + timedelta(seconds=1) for at in times) for first in times) <= 3


@pytest.mark.parametrize("source", ["beeble", "evolink"])
async def test_what_was_listed_replays_without_a_difference(make: Make, upstream: Upstream, source: str) -> None:
    world = make(source=source)
    made = int(datetime.now(UTC).timestamp()) - 600
    if source == "beeble":
        pages(upstream, [job("swx_1"), job("swx_2", "failed")], key="jobs")
    else:
        tasks = [
            {"id": f"task-unified-{made}-abcdefg{n}", "status": status, "created": made}
            for n, status in enumerate(["completed", "processing"])
        ]
        upstream.answers["/tasks"] = (200, {"data": tasks, "total": 2, "page": 1, "page_size": 100})
    assert (await run(world, source)).adopted == 2
    replay = Replay(world.config, world.database)
    assert [one async for one in replay.differences()] == []
    assert (replay.report.workflows, replay.report.not_replayable) == (2, {})


async def test_an_ended_task_that_a_list_shows_without_its_files_is_looked_at(make: Make, upstream: Upstream) -> None:
    world = make(source="evolink")
    made = int(datetime.now(UTC).timestamp()) - 600
    task = {"id": f"task-unified-{made}-abcdefgh", "status": "completed", "created": made, "has_results": True}
    upstream.answers["/tasks"] = (200, {"data": [task], "total": 1, "page": 1, "page_size": 100})
    await run(world, "evolink")
    assert "doubt" in (await world.check(task["id"])).reasons
    await run(world, "evolink")
    assert len([row for row in await rows(world.database, evidence) if row.kind == "fetch"]) == 1


async def test_an_upstream_without_a_listing_says_so(make: Make) -> None:
    world = make(source="runpod")
    with pytest.raises(CannotList, match="runpod has no listing"):
        await run(world, "runpod")


async def test_the_command_sums_up_and_exits_by_what_was_done(world: World, upstream: Upstream) -> None:
    pages(upstream, [document("wf")])
    code, out, err = await hookledger(world, "backfill", "civitai", "--since", "2h", "--json")
    assert (code, json.loads(out)["adopted"]) == (0, 1), err
    code, out, _ = await hookledger(world, "backfill", "civitai", "--dry-run")
    said = "1 listed on 1 page, 1 as known, 0 unreadable; 0 to take in; nothing was changed (done)\n"
    assert (code, out) == (0, said)
    pages(upstream, [document("wf"), {"id": 7}])
    code, out, _ = await hookledger(world, "backfill", "civitai")
    assert (code, "1 unreadable" in out) == (1, True)
    code, out, err = await hookledger(world, "backfill", "civitai", "--since", "soon")
    assert (code, out, "--since" in err) == (2, "", True)
    assert (await hookledger(world, "backfill", "nobody"))[0] == 2
