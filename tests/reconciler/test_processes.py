"""Several reconcilers on one database, one of them killed or frozen in the middle of a look."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from receiver.ledger.tables import transitions
from tests.reconciler.test_commands import start
from tests.reconciler.world import Upstream, World, document, until

LEASE = 3.0
SERVER = (f'lease = "{LEASE:g}s"', 'item = "2s"')


async def stopped(*processes: asyncio.subprocess.Process) -> None:
    for process in processes:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
    for process in processes:
        await process.communicate()


async def settled(world: World, name: str) -> bool:
    return (await world.known(name)).node.confirmed_at is not None


@pytest.mark.race
async def test_two_daemons_never_look_at_one_workflow_within_one_lease(
    make_world: Callable[..., World], upstream: Upstream
) -> None:
    world = make_world(upstream.base_url, server=SERVER)
    upstream.pause = 0.15
    names = [f"wf-{n}." for n in range(150)]
    shown: dict[str, int] = defaultdict(int)

    def answer(name: str) -> Callable[[], tuple[int, object]]:
        def one() -> tuple[int, object]:
            shown[name] += 1
            return 200, document(name, "processing" if shown[name] < 3 else "succeeded")

        return one

    for name in names:
        upstream.answers[f"/{name}"] = answer(name)
        await world.track(name)
    daemons = [await start(world, "reconcile", "--watch") for _ in range(2)]
    try:
        await until(lambda: len(upstream.seen) > 200, seconds=40)
        for name in names:
            await world.want(name)  # both see everything due at once
        await until(lambda: all(shown[name] >= 3 for name in names), seconds=60)
    finally:
        await stopped(*daemons)
    times: dict[str, list[datetime]] = defaultdict(list)
    for one in upstream.seen:
        times[one.path].append(one.at)
    for looks in times.values():
        for earlier, later in itertools.pairwise(looks):
            assert later - earlier >= timedelta(seconds=upstream.pause)
    assert {row.leased_until for row in (await world.everything())["checks"]} == {None}


@pytest.mark.crash
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_reconciler_killed_or_frozen_in_a_look_delays_its_workflows_by_one_lease_at_most(
    make_world: Callable[..., World], upstream: Upstream, how: signal.Signals
) -> None:
    world = make_world(upstream.base_url, server=SERVER)
    hanging = asyncio.Event()

    async def hang() -> tuple[int, object]:
        await hanging.wait()
        return 200, document("wf", "failed")

    upstream.answers["/wf"] = hang
    await world.track("wf")
    first = await start(world, "reconcile", "--watch")
    second = None
    try:
        await until(lambda: upstream.asked("wf") == 1)
        claimed = datetime.now(UTC)
        await asyncio.sleep(0.2)  # frozen inside a transaction, it would keep SQLite's one write lock
        first.send_signal(how)
        upstream.answers["/wf"] = (200, document("wf", "succeeded"))
        second = await start(world, "reconcile", "--watch")
        await until(lambda: settled(world, "wf"), seconds=15)
        assert timedelta(seconds=LEASE - 1) < datetime.now(UTC) - claimed < timedelta(seconds=LEASE + 2)
        hanging.set()
        if how is signal.SIGSTOP:
            first.send_signal(signal.SIGCONT)
            await asyncio.sleep(1)  # for its late answer to come in
    finally:
        hanging.set()
        await stopped(first, *([second] if second else []))
    assert await world.status("wf") == "succeeded"
    assert not [row for row in await world.rows(transitions) if row.kind in ("contradiction", "retracted")]
    assert await world.open_attention() == []


@pytest.mark.crash
async def test_work_that_kills_whoever_does_it_is_given_up_after_five_tries(
    make_world: Callable[..., World], upstream: Upstream
) -> None:
    world = make_world(upstream.base_url, server=SERVER)
    hanging = asyncio.Event()

    async def hang() -> tuple[int, object]:
        await hanging.wait()
        return 200, document("wf")

    def asked(times: int) -> bool:
        return upstream.asked("wf") == times

    upstream.answers["/wf"] = hang
    await world.track("wf")
    try:
        for tries in range(1, 6):
            process = await start(world, "reconcile")
            await until(partial(asked, tries))
            process.kill()
            await process.communicate()
            await world.let_pass(timedelta(seconds=LEASE))
        process = await start(world, "reconcile")
        await process.communicate()
    finally:
        hanging.set()
    assert upstream.asked("wf") == 5
    assert await world.open_attention() == ["unreachable"]
    assert (await world.check("wf")).memory.attempts == 0
