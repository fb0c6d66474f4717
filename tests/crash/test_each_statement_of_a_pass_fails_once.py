"""Each statement of a reconciler's pass fails once: nothing is half done, and later passes reach upstream's truth."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from receiver.ledger.database import Database
from receiver.ledger.tables import checks
from receiver.redaction import Redactor
from reconciler.commit import TROUBLE
from reconciler.loop import run_pass
from tests.chaos.sizes import number
from tests.reconciler.world import Upstream, World, configured, document, image, upstream_running
from tests.staging.interrupted import Interrupter
from tests.staging.soundness import unsound
from tests.staging.wire import Fault, wired

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(240),
    # A connection cut while SQLAlchemy makes it its own is dropped before the loop has told asyncpg of its end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MOST = 120  # statements of a pass
FAULTS = [Fault("cut before"), Fault("cut after"), Fault("error", "40001"), Fault("fatal", "57P01")]
AGAIN = timedelta(minutes=3)  # longer than a lease, and than the wait after a failed try


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url)
    try:
        yield database
    finally:
        await database.close()


async def tell(upstream: Upstream, world: World, name: str) -> None:
    """Let there be, upstream and in the ledger, one of each: ended, failed and running.

    None that upstream does not know: so many of those in a row would stop the source.
    """
    later = datetime.now(UTC) + timedelta(hours=1)
    made = {"images": [image(f"{name}-blob", "https://x/blob", later)]}
    upstream.answers |= {
        f"/{name}-ended": (200, document(f"{name}-ended", output=made)),
        f"/{name}-failed": (200, document(f"{name}-failed", "failed")),
        f"/{name}-runs": (200, document(f"{name}-runs", "processing")),
    }
    for what in ("ended", "failed", "runs"):
        await world.track(f"{name}-{what}")
    await world.deliver(f"{name}-ended", "canceled")  # which is not so


async def true(world: World, name: str) -> dict[str, Any]:
    """What the ledger says of them, as far as it must be the same however it was learned."""
    found: dict[str, Any] = {}
    for what in ("ended", "failed", "runs"):
        state = await world.known(f"{name}-{what}")
        steps = {key: str(step.status) for key, step in state.steps.items()}
        blobs = {blob.id.removeprefix(name): blob.url for blob in state.blobs.values()}
        found[what] = (str(state.node.status), state.node.confirmed_at is not None, steps, blobs)
    return found


TRUTH = {
    "ended": ("succeeded", True, {"$0": "succeeded"}, {"-blob": "https://x/blob"}),
    "failed": ("failed", True, {"$0": "failed"}, {}),
    "runs": ("processing", False, {"$0": "processing"}, {}),
}


async def each_statement(
    world: World,
    hurt: Database,
    upstream: Upstream,
    arm: Callable[[int], Awaitable[object]],
    fired: Callable[[], bool],
    disarm: Callable[[], None],
) -> int:
    """Fail statement after statement of a pass until there is none left; returns how many there were."""
    for n in range(1, MOST):
        name = f"wf{n}"
        await tell(upstream, world, name)
        await arm(n)
        with contextlib.suppress(TROUBLE):  # a pass that could not begin says so, and cron starts the next
            await asyncio.wait_for(run_pass(world.config, hurt, world.redactor, open_only=True), 20)
        met = fired()
        disarm()
        assert await unsound(world.database) == [], f"after statement {n}"
        for _ in range(3):
            if await true(world, name) == TRUTH:
                break
            await world.let_pass(AGAIN)
            await run_pass(world.config, world.database, world.redactor, open_only=True)
        assert await true(world, name) == TRUTH, f"after statement {n}"
        assert await unsound(world.database) == [], f"after statement {n}"
        if not met:
            return n - 1
        async with world.database.write() as connection:  # the next round is not to look at these
            await connection.execute(delete(checks))
    raise AssertionError("a pass takes far too many statements")


def looking(direct: Database, url: str, upstream: Upstream, folder: Path) -> World:
    lines = ('deadline = "30d"', 'keep_fresh = "0"', 'budget = "100000/min"')
    config = configured(url, upstream.base_url, folder, *lines)
    return World(direct, config, Redactor(config.secret_values()))


@pytest.mark.parametrize("first", range(int(number("FIRST", 1))))
async def test_on_postgresql(postgres_url: str, tmp_path: Path, first: int) -> None:
    """The n-th statement meets one fault after the other; with CHAOS_FIRST=4 each statement meets each of them."""
    async with (
        upstream_running() as upstream,
        wired(postgres_url) as wire,
        opened(postgres_url) as direct,
        opened(wire.url) as hurt,
    ):
        world = looking(direct, postgres_url, upstream, tmp_path)

        async def arm(n: int) -> None:
            wire.arm(n, FAULTS[(first + n) % len(FAULTS)])

        count = await each_statement(world, hurt, upstream, arm, lambda: wire.fired, wire.disarm)
    print(f"\n{count} statements")
    assert count > 10


async def test_on_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    async with upstream_running() as upstream, opened(sqlite_url) as direct, opened(sqlite_url) as hurt:
        world = looking(direct, sqlite_url, upstream, tmp_path)
        interrupter = Interrupter(hurt)
        count = await each_statement(
            world, hurt, upstream, interrupter.arm, lambda: interrupter.fired, interrupter.disarm
        )
    print(f"\n{count} statements")
    assert count > 10
