"""A key that is revoked in mid-pass, an upstream that is down: the source is stopped, and no workflow pays for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from receiver.ledger.database import Database
from receiver.ledger.entries import Answer
from receiver.ledger.tables import checks, transitions
from receiver.redaction import Redactor
from receiver.replaying import Replay
from reconciler.brake import _MOST_HELD, BRAKE, SAMPLE, UNREACHABLE, Health, probe_after
from reconciler.loop import run_pass
from tests.reconciler.test_plan import at
from tests.reconciler.world import Upstream, World, configured, document

MANY = int(os.environ.get("HOOKLEDGER_BRAKE_WORKFLOWS", "45"))
CONCURRENCY = 8
AGO = timedelta(seconds=100)


def judged(health: Health, *answers: Answer, start: int = 0, first: bool = True) -> list[tuple[bool, str | None]]:
    verdicts = [health.judge(f"w{start + n}", one, at(0), first=first) for n, one in enumerate(answers)]
    return [(one.hold, one.trip.because if one.trip else None) for one in verdicts]


def test_many_that_are_suddenly_unknown_stop_the_source_and_are_not_believed() -> None:
    found = judged(Health(0.5), *[Answer.GONE] * SAMPLE)
    assert found == [*[(False, None)] * 2, *[(True, None)] * (SAMPLE - 3), (True, BRAKE)]


def test_what_is_held_is_believed_when_it_is_asked_about_again_and_forgotten_when_it_is_shown() -> None:
    health = Health(0.9)
    judged(health, *[Answer.SHOWN] * 10)
    assert judged(health, *[Answer.GONE] * 4)[2:] == [(True, None)] * 2  # w2 and w3
    assert judged(health, Answer.GONE, start=2) == [(False, None)]
    judged(health, Answer.SHOWN, start=3)
    judged(health, *[Answer.GONE] * 2, start=10)
    assert judged(health, Answer.GONE, start=3) == [(True, None)]  # shown since, so this is its first time again


def test_no_more_is_remembered_of_what_is_held_than_there_is_room_for() -> None:
    health = Health(0.999)
    for n in range(_MOST_HELD + 10):
        judged(health, Answer.SHOWN, *[Answer.GONE] * 3, start=10 * n)
    assert 0 < len(health._held) <= _MOST_HELD


def test_a_few_among_many_that_are_shown_are_believed() -> None:
    health = Health(0.5)
    for n in range(40):
        assert judged(health, Answer.SHOWN, Answer.SHOWN, Answer.GONE, start=3 * n)[2] == (False, None)


def test_what_was_held_is_believed_when_it_is_said_again_and_nothing_else_is_lost() -> None:
    health = Health(0.5)
    assert judged(health, *[Answer.GONE] * 3) == [(False, None), (False, None), (True, None)]
    assert judged(health, Answer.GONE, start=2) == [(False, None)]


def test_404s_that_are_known_already_say_nothing_of_the_source() -> None:
    assert judged(Health(0.5), *[Answer.GONE] * 50, first=False) == [(False, None)] * 50


def test_without_a_brake_and_after_a_probe_got_through_404s_are_what_they_seem() -> None:
    believing = Health(0.5)
    believing.believed_until = at(1)
    for health in (Health(1.0), believing):
        assert judged(health, *[Answer.GONE] * 50) == [(False, None)] * 50


def test_upstream_counts_as_down_when_different_workflows_fail_one_after_the_other() -> None:
    assert judged(Health(), *[Answer.BUSY] * 8)[-1] == (False, UNREACHABLE)
    health = Health()
    for _ in range(30):
        assert judged(health, Answer.BUSY) == [(False, None)]  # the same one, which may be its own fault
    for n in range(30):
        assert judged(health, Answer.BUSY, Answer.BUSY, Answer.SHOWN, start=n)[1] == (False, None)


def test_probes_of_an_upstream_that_is_down_come_ever_more_rarely_and_never_together() -> None:
    rng = Random(1)
    waits = [[probe_after(UNREACHABLE, failed, rng).total_seconds() for _ in range(200)] for failed in (0, 2, 9)]
    assert [(min(one) >= low, max(one) <= high) for one, low, high in zip(waits, (1, 4, 15), (2, 8, 30), strict=True)]
    assert all(len(set(one)) > 190 for one in waits)
    assert probe_after(BRAKE, 3, rng) == timedelta(seconds=30)


class Revocable:
    """An upstream that shows every workflow alive, and answers `bad` from when its key is revoked until it is back."""

    def __init__(self, upstream: Upstream, bad: int, after: int) -> None:
        self.upstream, self.bad, self.after = upstream, bad, after
        self.status = "processing"
        upstream.answers[""] = self

    def __call__(self) -> tuple[int, object]:
        if len(self.upstream.seen) > self.after:
            return self.bad, {"status": self.bad}
        return 200, document(self.upstream.seen[-1].path.rpartition("/")[2], self.status)

    def give_back(self) -> None:
        self.after, self.status = 10**9, "succeeded"


Make = Callable[..., World]


@pytest.fixture
def make(database: Database, database_url: str, tmp_path: Path, upstream: Upstream) -> Make:
    def made(*lines: str) -> World:
        config = configured(database_url, upstream.base_url, tmp_path, *lines)
        return World(database, config, Redactor(config.secret_values()))

    return made


async def one_pass(world: World) -> None:
    await run_pass(world.config, world.database, world.redactor)


@pytest.mark.parametrize(("bad", "because"), [(401, "credentials"), (404, BRAKE), (403, BRAKE), (503, UNREACHABLE)])
async def test_a_key_revoked_in_mid_pass_changes_no_workflow_and_all_settle_when_it_is_back(
    make: Make, upstream: Upstream, bad: int, because: str
) -> None:
    world = make()
    key = Revocable(upstream, bad, after=MANY // 3)
    for n in range(MANY):
        await world.track(f"wf{n:04}", ago=AGO)
    await one_pass(world)
    sent = len(upstream.seen) - MANY // 3
    assert 1 <= sent <= CONCURRENCY + {401: 1, 404: SAMPLE + 1, 403: SAMPLE + 1, 503: 8}[bad]
    (source,) = await world.rows_of_sources()
    assert source.paused_because == because
    assert await world.open_attention() == ["unreachable" if bad == 503 else "credentials"] + ["refused"] * 2 * (
        bad == 403
    )
    assert {row.to_status for row in await world.rows(transitions)} <= {"unassigned", "processing"}
    assert sum(row.misses for row in await world.rows(checks)) <= 2
    before = len(upstream.seen)
    for _ in range(3):
        await world.let_pass(timedelta(seconds=31))
        await one_pass(world)
    assert len(upstream.seen) - before == 3, "one probe each half minute"
    assert await world.open_attention() == ["unreachable" if bad == 503 else "credentials"] + ["refused"] * 2 * (
        bad == 403
    )
    key.give_back()
    for _ in range(4):
        await world.let_pass(timedelta(seconds=150))
        await one_pass(world)
    (source,) = await world.rows_of_sources()
    assert source.paused_because is None
    assert [kind for kind in await world.open_attention() if kind != "refused"] == []
    open_still = [n for n in range(MANY) if await world.status(f"wf{n:04}") != "succeeded"]
    assert len(open_still) <= 2 * (bad == 403), "the two that were refused before the brake are asked about once a day"


async def test_a_source_whose_brake_is_off_is_believed(make: Make, upstream: Upstream) -> None:
    world = make("brake = 1")
    Revocable(upstream, 404, after=0)
    for n in range(20):
        await world.track(f"wf{n:04}", ago=AGO)
    await one_pass(world)
    assert {row.misses for row in await world.rows(checks)} == {1}
    assert (await world.rows_of_sources())[0].paused_because is None


@pytest.mark.parametrize("many", [3, MANY])
async def test_a_key_whose_expiry_makes_everything_404_ends_nothing_although_what_is_gone_expires(
    make: Make, upstream: Upstream, many: int
) -> None:
    """Three are too few for the brake to stop the source: then nothing is shown either that proves the key."""
    world = make('on_gone = "expire"')
    key = Revocable(upstream, 404, after=many // 3)
    for n in range(many):
        await world.track(f"wf{n:04}", ago=AGO)
    for _ in range(8):
        await one_pass(world)
        await world.let_pass(timedelta(seconds=100))
    assert {row.to_status for row in await world.rows(transitions)} <= {"unassigned", "processing"}
    key.give_back()
    await world.let_pass(timedelta(days=1))
    for _ in range(4):
        await one_pass(world)
        await world.let_pass(timedelta(seconds=150))
    assert {await world.status(f"wf{n:04}") for n in range(many)} == {"succeeded"}


async def test_what_upstream_alone_has_forgotten_expires_and_replays(make: Make, upstream: Upstream) -> None:
    world = make('on_gone = "expire"')
    upstream.answers["/gone"] = (404, {"status": 404})
    upstream.answers[""] = lambda: (200, document(upstream.seen[-1].path.rpartition("/")[2], "processing"))
    for name in ("gone", "one", "two"):
        await world.deliver(name, "processing", ago=2 * AGO)
    for _ in range(4):
        await one_pass(world)
        await world.let_pass(timedelta(seconds=130))
    assert [await world.status(name) for name in ("gone", "one", "two")] == ["expired", "processing", "processing"]
    assert await world.open_attention() == []
    replay = Replay(world.config, world.database)
    differs = {told["what"] async for one in replay.differences() for told in one.differences}
    assert all(what.endswith("_at") for what in differs), "instants, which the test itself made older"
    assert (replay.report.workflows, replay.report.not_replayable) == (3, {})
