"""Audit: settled workflows are asked about again; drift is a figure, and only what the rules allow is repaired."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from receiver.ledger import chores
from receiver.ledger.database import Database
from receiver.ledger.operations import passes
from receiver.ledger.tables import transitions, workflows
from reconciler import chores as daemon
from reconciler.audit import AuditReport, audit
from reconciler.loop import run_daemon, run_pass
from tests.reconciler.test_commands import hookledger
from tests.reconciler.world import Upstream, World, document, until

HOUR = timedelta(hours=1)


async def run(world: World, **more: Any) -> AuditReport:
    report = await audit(world.config, world.database, world.redactor, "civitai", **more)
    assert report is not None
    return report


async def rows(database: Database, table: Any) -> list[Any]:
    async with database.read() as connection:
        return list(await connection.execute(table.select()))


async def settled(world: World, upstream: Upstream, *names: str, status: str = "succeeded") -> None:
    """Workflows that ended an hour ago and whose endings were confirmed by a look."""
    for name in names:
        upstream.answers[f"/{name}"] = (200, document(name, status, createdAt="2026-01-01T00:00:00Z"))
        await world.track(name, ago=HOUR)
    await run_pass(world.config, world.database, world.redactor)
    await world.let_pass(HOUR)
    upstream.seen.clear()


async def test_what_upstream_still_says_is_no_drift(world: World, upstream: Upstream) -> None:
    await settled(world, upstream, "a", "b", "c")
    report = await run(world, sample=10)
    assert (report.counts["asked"], report.counts["same"], report.drift) == (3, 3, 0.0)
    assert sorted(one.path.rpartition("/")[2] for one in upstream.seen) == ["a", "b", "c"]
    assert [(row.kind, row.outcome) for row in await rows(world.database, passes)][-1] == ("audit", "done")


async def test_urls_that_upstream_signs_anew_for_each_answer_are_no_drift(world: World, upstream: Upstream) -> None:
    def shown(signature: str, name: str = "a.mp4") -> dict[str, Any]:
        url = f"https://blobs.civitai.com/{name}?sig={signature}&exp=2026-01-21T22:2{signature}:00Z"
        video = {"type": "video", "id": name, "url": url, "urlExpiresAt": f"2026-01-21T22:2{signature}:00Z"}
        return document("wf", "succeeded", createdAt="2026-01-01T00:00:00Z", output={"video": video})

    await settled(world, upstream, "wf")
    upstream.answers["/wf"] = (200, shown("1"))
    assert (await run(world, sample=1)).counts["filled"] == 1
    upstream.answers["/wf"] = (200, shown("2"))
    assert (await run(world, sample=1)).drift == 0.0
    upstream.answers["/wf"] = (200, shown("3", "b.mp4"))
    assert (await run(world, sample=1)).counts["filled"] == 1


async def test_a_sample_is_no_larger_than_asked_for(world: World, upstream: Upstream) -> None:
    await settled(world, upstream, *(f"wf-{n}" for n in range(8)))
    report = await run(world, sample=3)
    assert report.counts["asked"] == len(upstream.seen) == 3


async def test_another_ending_is_recorded_and_the_confirmed_one_stands(world: World, upstream: Upstream) -> None:
    await settled(world, upstream, "wf", "other")
    upstream.answers["/wf"] = (200, document("wf", "failed"))
    for _ in range(2):  # the dispute is recorded once and counted each time
        report = await run(world, sample=2)
        assert (report.counts["contradicted"], report.counts["same"], report.drift) == (1, 1, 0.5)
        assert report.drifted[0]["id"] == "wf"
    assert await world.status("wf") == "succeeded"
    disputes = [row for row in await rows(world.database, transitions) if row.kind == "contradiction"]
    assert [row.level for row in disputes] == ["workflow", "step"]
    assert "contradicted" in await world.open_attention()


async def test_a_gap_is_filled_and_what_upstream_forgot_is_counted(world: World, upstream: Upstream) -> None:
    await settled(world, upstream, "wf", "gone")
    upstream.answers["/wf"] = (200, document("wf", "succeeded", output={"text": "more"}))
    upstream.answers["/gone"] = (404, {})
    report = await run(world, sample=2)
    assert (report.counts["filled"], report.counts["gone"], report.drift) == (1, 1, 1.0)
    (told,) = report.drifted
    assert "step:$0.facts.output" in told["what"]
    assert (await world.known("wf")).steps["$0"].facts["output"] == {"text": "more"}
    async with world.database.read() as connection:
        kept = (await chores.found(connection, "audit"))["civitai"]
    assert (kept["outcome"], kept["found"]["drift"], kept["found"]["gone"]) == ("done", 1.0, 1)


async def test_what_is_open_or_ended_just_now_is_not_audited(world: World, upstream: Upstream) -> None:
    upstream.answers["/new"] = (200, document("new"))
    await world.track("new", ago=HOUR)
    await run_pass(world.config, world.database, world.redactor)
    await world.deliver("open", "processing", ago=HOUR)
    upstream.seen.clear()
    assert (await run(world)).counts["asked"] == 0
    assert upstream.seen == []


async def test_an_upstream_that_fails_is_counted_and_a_refused_key_ends_the_audit(
    world: World, upstream: Upstream
) -> None:
    await settled(world, upstream, "a", "b")
    upstream.answers["/a"] = (403, {"title": "No"})
    report = await run(world, sample=2)
    assert (report.counts["failed"], report.counts["same"], report.outcome) == (1, 1, "done")
    upstream.answers["/a"] = upstream.answers["/b"] = (401, {})
    report = await run(world, sample=2)
    assert (report.outcome, report.counts["asked"]) == ("upstream", 1)
    assert await world.open_attention() == ["credentials"]


async def test_the_command_prints_the_drift_and_exits_by_what_could_be_asked(world: World, upstream: Upstream) -> None:
    await settled(world, upstream, "wf")
    upstream.answers["/wf"] = (200, document("wf", "failed"))
    code, out, err = await hookledger(world, "audit", "--json")
    (told,) = json.loads(out)["items"]
    assert (code, told["source"], told["contradicted"], told["drift"]) == (0, "civitai", 1, 1.0), err
    code, out, _ = await hookledger(world, "audit", "--sample", "5", "--within", "30d")
    assert (code, "100.0%" in out) == (0, True)
    upstream.answers["/wf"] = (403, {})
    assert (await hookledger(world, "audit"))[0] == 1
    assert (await hookledger(world, "audit", "--source", "nobody"))[0] == 2


async def test_the_daemon_does_its_chores_and_each_once(world: World, upstream: Upstream) -> None:
    await settled(world, upstream, "wf")
    upstream.answers["/workflows"] = (200, {"items": [document("new")], "next": None})
    stops = [asyncio.Event(), asyncio.Event()]
    doing = [
        asyncio.create_task(
            daemon.do_forever(world.config, world.database, world.redactor, stop, ["civitai"], first=0.01)
        )
        for stop in stops
    ]

    async def done() -> bool:
        kinds = [row.kind for row in await rows(world.database, passes) if row.ended_at is not None]
        return {"backfill", "audit", "prune"} <= set(kinds)

    await until(done, 20)
    for stop in stops:
        stop.set()
    await asyncio.gather(*doing)
    kinds = sorted(row.kind for row in await rows(world.database, passes))
    assert kinds == ["audit", "backfill", "cron", "prune"]
    assert {row.id for row in await rows(world.database, workflows)} == {"wf", "new"}


async def test_a_daemon_that_is_stopped_leaves_its_chores_at_once(world: World) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run_daemon(world.config, world.database, world.redactor, stop))
    await asyncio.sleep(0.3)
    stop.set()
    await asyncio.wait_for(running, 10)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "chores"] == []
