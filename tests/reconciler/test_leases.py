"""Leases, fences, wishes and shares: what holds when several reconcilers work at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from receiver.ledger.tables import transitions
from reconciler.crew import Crew
from reconciler.loop import run_daemon, run_pass
from reconciler.passes import PassReport
from tests.reconciler.world import Upstream, World, document, until


def crew(world: World) -> Crew:
    return Crew(world.config, world.database, world.redactor, PassReport("cron"))


async def idle(one: Crew) -> None:
    await until(lambda: not one.busy)


async def test_an_answer_under_an_old_fence_is_kept_and_not_applied(world: World, upstream: Upstream) -> None:
    let_go = asyncio.Event()

    async def slow() -> tuple[int, object]:
        await let_go.wait()
        return 200, document("wf", "failed")

    upstream.answers["/wf"] = slow
    await world.track("wf")
    async with crew(world) as first, crew(world) as second:
        assert await first.claim() == 1
        await until(lambda: upstream.asked("wf") == 1)
        assert await second.claim() == 0  # the lease holds
        await world.let_pass(timedelta(seconds=91))
        upstream.answers["/wf"] = (200, document("wf", "succeeded"))
        assert await second.claim() == 1
        await idle(second)
        let_go.set()
        await idle(first)
        assert (first.report.counts["stale"], second.report.counts["stale"]) == (1, 0)
    state = await world.known("wf")
    assert state.node.status == "succeeded"
    assert [row.problem for row in await world.fetches()] == [None, "its lease had ended: kept, not applied"]
    assert not [row for row in await world.rows(transitions) if row.kind == "contradiction"]


async def test_an_answer_after_its_lease_is_not_applied_even_if_nobody_else_has_asked(
    world: World, upstream: Upstream
) -> None:
    upstream.answers["/wf"] = (200, document("wf", "failed"))
    upstream.pause = 0.3
    await world.track("wf")
    async with crew(world) as first:
        assert await first.claim() == 1
        await until(lambda: upstream.asked("wf") == 1)
        await world.let_pass(timedelta(seconds=91))
        await idle(first)
        assert first.report.counts["stale"] == 1
    assert await world.status("wf") == "unassigned"
    report = await run_pass(world.config, world.database, world.redactor)
    assert report.counts["shown"] == 1
    assert await world.status("wf") == "failed"


async def test_a_wish_that_comes_during_a_look_is_not_lost(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (202, document("wf", "processing"))
    upstream.pause = 0.3
    await world.track("wf")
    async with crew(world) as one:
        await one.claim()
        await until(lambda: upstream.asked("wf") == 1)
        await world.want("wf")
        await idle(one)
        assert (await world.check("wf")).memory.wanted_at is not None
        assert await one.claim() == 1
        await idle(one)
        assert upstream.asked("wf") == 2
        assert (await world.check("wf")).memory.wanted_at is None


async def test_a_wish_that_comes_during_a_look_that_fails_is_not_lost_either(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (403, "No.")
    upstream.pause = 0.3
    await world.track("wf")
    async with crew(world) as one:
        await one.claim()
        await until(lambda: upstream.asked("wf") == 1)
        await world.want("wf")
        await idle(one)
        assert await one.claim() == 1
        await idle(one)
        assert upstream.asked("wf") == 2


async def test_a_delivery_postpones_a_look_that_was_due_without_a_request(world: World, upstream: Upstream) -> None:
    await world.deliver("wf", "processing", ago=timedelta(minutes=3))
    await world.deliver("wf", "processing", progress=0.5)
    report = await run_pass(world.config, world.database, world.redactor)
    assert report.counts["looks"] == 0
    assert upstream.seen == []
    check = await world.check("wf")
    assert (check.memory.attempts, check.leased_until) == (0, None)
    state = await world.known("wf")
    assert state.news_at is not None
    assert check.due_at is not None
    assert abs(check.due_at - (state.news_at + timedelta(minutes=2))) < timedelta(seconds=1)


async def test_hints_take_a_fifth_of_the_places_at_most(make_world: Callable[..., World], upstream: Upstream) -> None:
    world = make_world(upstream.base_url, "concurrency = 10")
    upstream.pause = 1.0
    for n in range(40):
        await world.deliver(f"hint{n}", "succeeded", token=False)
    async with crew(world) as one:
        assert await one.claim() == 2
        for n in range(20):
            await world.track(f"real{n}")
        assert await one.claim() == 8


async def test_somebody_who_waits_is_served_before_everything_else_and_quickly(
    make_world: Callable[..., World], upstream: Upstream
) -> None:
    world = make_world(upstream.base_url, "concurrency = 1")
    for n in range(20):
        await world.track(f"other{n}")
    await world.deliver("wf", "processing")
    upstream.answers["/wf"] = (200, document("wf"))
    upstream.pause = 0.05
    stop = asyncio.Event()
    daemon = asyncio.create_task(run_daemon(world.config, world.database, world.redactor, stop))
    try:
        await until(lambda: len(upstream.seen) >= 2)
        await world.want("wf")
        before = len(upstream.seen)
        await until(lambda: upstream.asked("wf") == 1, seconds=20)
        assert len(upstream.seen) - before <= 3
    finally:
        stop.set()
        await daemon


async def test_a_daemon_that_is_told_to_stop_gives_back_what_it_cannot_finish(
    make_world: Callable[..., World], upstream: Upstream
) -> None:
    world = make_world(upstream.base_url)
    upstream.answers["/quick"] = (200, document("quick"))

    async def never() -> tuple[int, object]:
        await asyncio.sleep(8)
        return 200, document("slow")

    upstream.answers["/slow"] = never
    await world.track("quick")
    await world.track("slow")
    stop = asyncio.Event()
    beats: list[float] = []
    loop = asyncio.get_running_loop()
    daemon = asyncio.create_task(
        run_daemon(world.config, world.database, world.redactor, stop, beat=lambda: beats.append(loop.time()))
    )
    await until(lambda: upstream.asked("slow") == 1)
    stop.set()
    began = loop.time()
    await daemon
    assert loop.time() - began < 6
    assert beats
    check = await world.check("slow")
    assert (check.leased_until, check.memory.attempts) == (None, 0)
    assert await world.status("quick") == "succeeded"
    async with crew(world) as other:
        assert await other.claim() == 1
