"""What the reconciler fetched replays without a difference: single looks, reads for many, audits, misses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from receiver.ledger.database import Database
from receiver.replaying import Replay
from reconciler.audit import audit
from reconciler.loop import run_pass
from reconciler.ondemand import look_now
from tests.reconciler.tasks_world import TasksWorld, callback, job
from tests.reconciler.world import Upstream, World, document


async def differences(world: World | TasksWorld) -> tuple[list[object], int]:
    replay = Replay(world.config, world.database)
    found: list[object] = [one async for one in replay.differences()]
    assert replay.report.not_replayable == {}
    return found, replay.report.workflows


async def test_single_looks_misses_and_refusals(world: World, upstream: Upstream) -> None:
    answers = {"ok": (200, document("ok")), "gone": (404, {}), "no": (403, {}), "on": (202, document("on"))}
    for name, answer in answers.items():
        upstream.answers[f"/{name}"] = answer
        await world.deliver(name, "succeeded" if name == "gone" else "processing")
        await look_now(world.config, world.database, world.redactor, "civitai", name)
    assert await differences(world) == ([], 4)


async def test_reads_for_many(database: Database, database_url: str, tmp_path: Path, upstream: Upstream) -> None:
    world = TasksWorld.made("beeble", database, database_url, upstream.base_url, tmp_path, 'budget = "100/s"')
    jobs = [job("swx_1"), job("swx_2", "failed"), job("swx_3", "processing")]
    upstream.answers["/generations"] = (200, {"jobs": jobs, "next_page_token": None})
    await world.deliver(*(callback(f"swx_{n}") for n in (1, 2, 3)))
    report = await run_pass(world.config, world.database, world.redactor)
    assert report.counts["bulk"] == 1
    assert await differences(world) == ([], 3)


async def test_audits(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf"))
    await world.deliver("wf", "processing")
    await look_now(world.config, world.database, world.redactor, "civitai", "wf")
    upstream.answers["/wf"] = (200, document("wf", "failed", output={"text": "more"}))
    report = await audit(world.config, world.database, world.redactor, "civitai", settled=timedelta(0))
    assert report is not None
    assert report.counts["contradicted"] == 1
    assert await differences(world) == ([], 1)
