"""Provisional endings, and the looks that confirm them or take them back (R2, R9), over real HTTP."""

from __future__ import annotations

from datetime import timedelta

from receiver.ledger.records import TransitionKind
from receiver.ledger.tables import transitions
from reconciler.loop import run_pass
from tests.reconciler.world import Upstream, World, document


async def one_pass(world: World) -> None:
    await run_pass(world.config, world.database, world.redactor)


async def kinds(world: World) -> list[tuple[str, str]]:
    rows = sorted(await world.rows(transitions), key=lambda row: row.seq)
    return [(row.kind, row.to_status) for row in rows if row.level == "workflow"]


async def test_an_ending_with_a_token_is_confirmed_by_a_look(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf"))
    await world.deliver("wf", "succeeded")
    assert (await world.known("wf")).node.confirmed_at is None
    await one_pass(world)
    state = await world.known("wf")
    assert state.node.confirmed_at is not None
    assert state.node.finished_via == "delivery"
    assert upstream.asked("wf") == 1


async def test_a_forged_ending_is_retracted_at_once_by_a_look_at_another_ending(
    world: World, upstream: Upstream
) -> None:
    upstream.answers["/wf"] = (200, document("wf", "failed"))
    await world.deliver("wf", "succeeded")
    await one_pass(world)
    state = await world.known("wf")
    assert state.node.status == "failed"
    assert state.node.confirmed_at is not None
    assert (TransitionKind.RETRACTED, "failed") in await kinds(world)


async def test_a_forged_ending_of_living_work_is_retracted_by_two_looks_half_a_minute_apart(
    world: World, upstream: Upstream
) -> None:
    upstream.answers["/wf"] = (202, document("wf", "processing"))
    await world.deliver("wf", "succeeded")
    await one_pass(world)
    assert await world.status("wf") == "succeeded"  # one look may have met a stale replica
    await world.let_pass(timedelta(seconds=20))
    await one_pass(world)
    assert await world.status("wf") == "succeeded"
    assert upstream.asked("wf") == 1
    await world.let_pass(timedelta(seconds=11))
    await one_pass(world)
    assert upstream.asked("wf") == 2
    assert await world.status("wf") == "processing"
    assert (await kinds(world))[-1] == (TransitionKind.RETRACTED, "processing")


async def test_a_confirming_look_that_meets_404_leaves_the_ending_unconfirmed_as_vanished(
    world: World, upstream: Upstream
) -> None:
    await world.deliver("wf", "succeeded")
    await one_pass(world)
    state = await world.known("wf")
    assert state.node.status == "succeeded"
    assert state.node.confirmed_at is None
    assert state.vanished_at is not None
    await world.let_pass(timedelta(days=2))
    await one_pass(world)
    assert upstream.asked("wf") == 1


async def test_an_ephemeral_workflow_that_meets_404_has_ended_as_its_delivery_said(
    world: World, upstream: Upstream
) -> None:
    await world.track("wf", document("wf", "unassigned", ephemeral=True))
    await world.deliver("wf", "succeeded")
    await one_pass(world)
    state = await world.known("wf")
    assert state.node.status == "succeeded"
    assert state.node.confirmed_at is not None
    assert state.vanished_at is None
    assert await world.open_attention() == []


async def test_a_hint_moves_nothing_but_makes_a_look_that_finds_the_workflow(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf", "failed"))
    await world.deliver("wf", "succeeded", token=False)
    await world.deliver("invented", "succeeded", token=False)
    assert await world.state("wf") is None
    await one_pass(world)
    assert await world.status("wf") == "failed"
    assert await world.state("invented") is None
    await world.let_pass(timedelta(seconds=31))
    await one_pass(world)
    assert not (await world.check("invented")).stored
    assert upstream.asked("invented") == 1


async def test_a_hint_soon_after_a_404_waits_for_half_a_minute_after_it(world: World, upstream: Upstream) -> None:
    await world.deliver("invented", "succeeded", token=False)
    await one_pass(world)
    await world.deliver("invented", "failed", token=False, ago=timedelta(0))
    await one_pass(world)
    assert upstream.asked("invented") == 1
    await world.let_pass(timedelta(seconds=31))
    await one_pass(world)
    assert upstream.asked("invented") == 2


async def test_children_left_open_under_an_ending_are_settled_by_a_look_half_a_minute_later(
    world: World, upstream: Upstream
) -> None:
    shown = document("wf", "succeeded")
    shown["steps"][0]["status"] = "processing"
    upstream.answers["/wf"] = (200, shown)
    await world.track("wf", document("wf", "processing"))
    await one_pass(world)
    state = await world.known("wf")
    assert (state.node.status, state.steps["$0"].status) == ("succeeded", "processing")
    await world.let_pass(timedelta(seconds=31))
    await one_pass(world)
    state = await world.known("wf")
    assert (state.steps["$0"].status, state.steps["$0"].finished_via) == ("succeeded", "inferred")
