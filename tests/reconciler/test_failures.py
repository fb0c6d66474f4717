"""What becomes of a look that upstream does not answer as hoped (R11), over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from receiver.ledger.schedule import TRIES
from reconciler.loop import run_pass
from reconciler.passes import PassReport
from tests.reconciler.world import KEY, Upstream, World, document

DAY = timedelta(days=1)


async def one_pass(world: World) -> PassReport:
    return await run_pass(world.config, world.database, world.redactor)


async def due_in(world: World, workflow_id: str) -> timedelta:
    check = await world.check(workflow_id)
    assert check.due_at is not None
    return check.due_at - datetime.now(UTC)


async def test_404_three_times_spaced_out_is_for_a_person_and_moves_no_status(world: World, upstream: Upstream) -> None:
    await world.deliver("wf", "processing", ago=timedelta(hours=1))
    for misses, wait in ((1, 30), (2, 60)):
        await one_pass(world)
        assert (await world.check("wf")).memory.misses == misses
        assert timedelta(seconds=wait - 5) < await due_in(world, "wf") <= timedelta(seconds=wait)
        assert await world.open_attention() == []
        await one_pass(world)
        assert upstream.asked("wf") == misses  # not before its time
        await world.let_pass(timedelta(seconds=wait))
    await one_pass(world)
    assert await world.open_attention() == ["gone"]
    assert await world.status("wf") == "processing"
    assert upstream.asked("wf") == 3
    assert DAY - timedelta(minutes=1) < await due_in(world, "wf")


async def test_asking_by_hand_between_404s_does_not_make_them_three(world: World, upstream: Upstream) -> None:
    await world.deliver("wf", "processing")
    for _ in range(4):
        await world.want("wf")
        await one_pass(world)
    assert upstream.asked("wf") == 4
    assert (await world.check("wf")).memory.misses == 1
    assert await world.open_attention() == []


async def test_five_failed_tries_are_unreachable_until_one_succeeds(world: World, upstream: Upstream) -> None:
    page = b"<html><title>Bad gateway</title></html>"
    upstream.answers["/wf"] = (503, page, {"retry-after": "20"})  # or the next try may be due in the same pass
    await world.track("wf")
    for attempt in range(1, TRIES + 1):
        assert await world.open_attention() == []
        report = await one_pass(world)
        assert report.failed == 1
        assert (await world.check("wf")).memory.attempts == attempt % TRIES
        if attempt < TRIES:
            assert await due_in(world, "wf") <= timedelta(seconds=30)
            await world.let_pass(timedelta(seconds=30))
    assert await world.open_attention() == ["unreachable"]
    assert timedelta(seconds=110) < await due_in(world, "wf") <= timedelta(seconds=120)  # the silence budget
    assert await world.status("wf") == "unassigned"

    upstream.answers["/wf"] = (200, document("wf", "processing"))
    await world.let_pass(timedelta(minutes=3))
    await one_pass(world)
    assert await world.open_attention() == []
    assert await world.status("wf") == "processing"


async def test_a_refusal_is_for_a_person_and_asked_again_after_a_day(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf403"] = (403, "Not allowed for this account.")
    upstream.answers["/wf422"] = (422, {"title": "No such thing"})
    await world.track("wf403")
    await world.track("wf422")
    report = await one_pass(world)
    assert report.failed == 2
    assert await world.open_attention() == ["refused", "refused"]
    assert (await world.check("wf403")).last_error == "upstream answered 403: Not allowed for this account."
    await world.let_pass(timedelta(hours=23))
    await one_pass(world)
    assert upstream.asked("wf403") == 1
    await world.let_pass(timedelta(hours=1, minutes=1))
    await one_pass(world)
    assert upstream.asked("wf403") == 2
    assert await world.open_attention() == ["refused", "refused"]


async def test_an_answer_that_is_not_as_documented_is_tried_again_and_then_for_a_person(
    world: World, upstream: Upstream
) -> None:
    upstream.answers["/wf"] = (200, document("other"))
    await world.track("wf")
    while upstream.asked("wf") < TRIES:  # of which one pass may see more than one
        await one_pass(world)
        await world.let_pass(timedelta(seconds=31))
    assert upstream.asked("wf") == TRIES
    assert await world.open_attention() == ["unreadable"]
    assert await world.state("other") is None


async def test_retry_after_is_honoured_and_the_whole_source_is_left_alone(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (429, {"title": "Too many requests"}, {"retry-after": "25"})
    await world.track("wf")
    await one_pass(world)
    assert timedelta(seconds=24) < await due_in(world, "wf") <= timedelta(seconds=25)


async def test_a_retry_after_beyond_the_cap_is_not(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (503, {"title": "Busy"}, {"retry-after": "3600"})
    await world.track("wf")
    await one_pass(world)
    assert timedelta(seconds=29) < await due_in(world, "wf") <= timedelta(seconds=30)


async def test_a_refused_key_pauses_its_source_with_one_attention_and_charges_nobody(
    world: World, upstream: Upstream
) -> None:
    names = [f"wf{n}" for n in range(20)]
    for name in names:
        upstream.answers[f"/{name}"] = (401, {"title": "Unauthorized", "detail": f"not {KEY}"})
        await world.track(name)
    report = await one_pass(world)
    assert report.failed == report.counts["credentials"] <= 16  # those under way when the first answer came
    assert await world.open_attention() == ["credentials"]
    assert [(await world.check(name)).memory.attempts for name in names] == [0] * 20
    (row,) = await world.rows_of_attention()
    assert (row.scope, row.source, row.subject) == ("source", "civitai", "")
    assert KEY not in row.note

    before = len(upstream.seen)
    await one_pass(world)
    assert len(upstream.seen) == before  # no probe is due yet

    await world.let_pass(timedelta(seconds=31))
    await one_pass(world)
    assert len(upstream.seen) == before + 1  # one probe, refused
    assert len(await world.rows_of_attention()) == 1

    for name in names:
        upstream.answers[f"/{name}"] = (200, document(name))
    await world.let_pass(timedelta(seconds=31))
    await one_pass(world)
    assert await world.open_attention() == []
    assert {await world.status(name) for name in names} == {"succeeded"}
    (state,) = await world.rows_of_sources()
    assert (state.paused_because, state.paused_until, state.probe_at) == (None, None, None)


async def test_a_good_answer_to_what_was_sent_before_the_pause_does_not_end_it(
    world: World, upstream: Upstream
) -> None:
    async def slow() -> tuple[int, object]:
        await asyncio.sleep(0.5)
        return 200, document("slow")

    upstream.answers["/slow"] = slow
    upstream.answers["/wf"] = (401, {"title": "Unauthorized"})
    await world.track("slow")
    await world.track("wf")
    report = await one_pass(world)
    assert (report.counts["shown"], report.counts["credentials"]) == (1, 1)
    assert await world.open_attention() == ["credentials"]
    (state,) = await world.rows_of_sources()
    assert state.paused_because == "credentials"


async def test_a_probe_is_not_spent_on_a_check_that_turns_out_to_be_put_off(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (401, {"title": "Unauthorized"})
    await world.track("wf")
    await one_pass(world)
    async with world.database.write() as connection:
        await connection.exec_driver_sql("UPDATE checks SET due_at = NULL")
    await world.deliver("chatty", "processing", ago=timedelta(minutes=3))
    await world.deliver("chatty", "processing", progress=0.5)
    await world.let_pass(timedelta(seconds=31))
    await one_pass(world)
    assert upstream.asked("chatty") == 0
    assert (await world.check("chatty")).leased_until is None

    upstream.answers["/wf"] = (200, document("wf"))
    await world.want("wf")
    await one_pass(world)
    assert await world.status("wf") == "succeeded"
    assert await world.open_attention() == []


async def test_nobody_listening_is_a_failed_try_that_leaves_no_evidence(
    make_world: Callable[..., World],
) -> None:
    world = make_world("http://127.0.0.1:9")
    await world.track("wf")
    report = await one_pass(world)
    assert report.failed == report.counts["busy"] >= 1  # the next try may be due in the same pass
    assert await world.fetches() == []
    check = await world.check("wf")
    assert check.memory.attempts == report.failed % TRIES
    assert check.leased_until is None
    assert (check.last_error or "").startswith("no answer")


async def test_workflows_that_hang_do_not_hold_up_the_healthy_ones(
    make_world: Callable[..., World], upstream: Upstream
) -> None:
    world = make_world(upstream.base_url, "concurrency = 4", server=('lease = "12s"', 'item = "4s"'))

    async def hang() -> tuple[int, object]:
        await asyncio.sleep(6)
        return 200, document("hangs")

    for n in range(4):
        upstream.answers[f"/hangs{n}"] = (503, {"title": "Busy"}, {"retry-after": "30"})
        await world.track(f"hangs{n}", ago=timedelta(seconds=60))
    await one_pass(world)
    await world.let_pass(timedelta(seconds=31))  # all four have failed once, and are due again
    upstream.answers.update({f"/hangs{n}": hang for n in range(4)})
    for n in range(20):
        upstream.answers[f"/well{n}"] = (200, document(f"well{n}"))
        await world.track(f"well{n}")
    began = datetime.now(UTC)
    await run_pass(world.config, world.database, world.redactor)
    ended = [seen.at for seen in upstream.seen if "/well" in seen.path]
    assert len(ended) == 20
    assert max(ended) - began < timedelta(seconds=3.9)  # before a single one that hangs was given up
