"""URLs of output files kept alive (R17), over real HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.ledger.nodes import Blob
from reconciler.loop import run_pass
from tests.reconciler.world import LATELY, Upstream, World, document, image

LIFE = timedelta(minutes=9)


class Files:
    """An ended workflow with one file; the URL is renewed at each look, or never when `stubborn`."""

    def __init__(self, upstream: Upstream, *, stubborn: bool = False) -> None:
        self.signed = 0
        self.stubborn = stubborn
        self.first = datetime.now(UTC) + LIFE
        upstream.answers["/wf"] = self.answer

    def answer(self) -> tuple[int, Any]:
        if self.stubborn and self.signed:
            shown = image("b.png", "https://x.test/b.png?sig=1", self.first)
        else:
            self.signed += 1
            shown = image("b.png", f"https://x.test/b.png?sig={self.signed}", datetime.now(UTC) + LIFE)
        return 200, document("wf", output={"images": [shown]})

    def age(self, span: timedelta) -> None:
        self.first -= span


async def one_pass(world: World) -> None:
    report = await run_pass(world.config, world.database, world.redactor)
    assert report.failed == 0


async def blob(world: World) -> Blob:
    return (await world.known("wf")).blobs["b.png"]


async def test_a_url_is_renewed_a_third_of_its_life_ahead_of_its_end(world: World, upstream: Upstream) -> None:
    files = Files(upstream)
    await world.track("wf")
    await one_pass(world)
    assert (await blob(world)).url == "https://x.test/b.png?sig=1"
    await world.let_pass(timedelta(minutes=5, seconds=50))
    await one_pass(world)
    assert files.signed == 1
    await world.let_pass(timedelta(seconds=15))
    await one_pass(world)
    seen = await blob(world)
    assert seen.url == "https://x.test/b.png?sig=2"
    assert seen.url_confirmed
    assert not any("refresh" in one.path for one in upstream.seen)


async def test_a_url_that_looks_do_not_renew_is_renewed_by_itself(world: World, upstream: Upstream) -> None:
    files = Files(upstream, stubborn=True)
    fresh = image("b.png", "https://x.test/b.png?sig=fresh", datetime.now(UTC) + LIFE)
    upstream.answers["/b.png/refresh"] = (200, fresh)
    await world.track("wf")
    await one_pass(world)
    await world.let_pass(timedelta(minutes=7))
    files.age(timedelta(minutes=7))
    await one_pass(world)  # a look: one would do for all files
    assert upstream.asked("wf") == 2
    assert (await blob(world)).url == "https://x.test/b.png?sig=1"
    await world.let_pass(timedelta(seconds=11))
    await one_pass(world)
    seen = await blob(world)
    assert seen.url == "https://x.test/b.png?sig=fresh"
    assert seen.url_confirmed
    assert upstream.asked("wf") == 2
    (post,) = [one for one in upstream.seen if one.method == "POST"]
    assert post.path.endswith("/blobs/b.png/refresh")
    assert await world.status("wf") == "succeeded"


async def test_a_file_whose_renewal_meets_404_is_gone_and_its_workflow_is_not(world: World, upstream: Upstream) -> None:
    files = Files(upstream, stubborn=True)
    upstream.answers["/b.png/refresh"] = (404, {"title": "Not Found"})
    await world.track("wf")
    await one_pass(world)
    await world.let_pass(timedelta(minutes=7))
    files.age(timedelta(minutes=7))
    await one_pass(world)
    await world.let_pass(timedelta(seconds=11))
    await one_pass(world)
    assert (await blob(world)).gone_at is not None
    check = await world.check("wf")
    assert (check.memory.misses, check.due_at) == (0, None)
    assert await world.open_attention() == []
    assert (await world.known("wf")).node.confirmed_at is not None


async def test_a_file_whose_renewal_is_refused_is_blocked_and_not_asked_for_again(
    world: World, upstream: Upstream
) -> None:
    files = Files(upstream, stubborn=True)
    upstream.answers["/b.png/refresh"] = (403, "Mature content is withheld.")
    await world.track("wf")
    await one_pass(world)
    await world.let_pass(timedelta(minutes=7))
    files.age(timedelta(minutes=7))
    await one_pass(world)
    await world.let_pass(timedelta(seconds=11))
    await run_pass(world.config, world.database, world.redactor)
    seen = await blob(world)
    assert seen.available is False
    assert "withheld" in seen.facts["renewal_refused"]
    assert seen.gone_at is None
    assert (await world.check("wf")).due_at is None


async def test_a_wish_renews_a_url_that_nobody_keeps_fresh_any_more(world: World, upstream: Upstream) -> None:
    files = Files(upstream)
    await world.track("wf", ago=LATELY)
    await one_pass(world)
    await world.let_pass(timedelta(hours=5))
    await one_pass(world)
    assert files.signed == 1  # beyond keep_fresh
    await world.want("wf")
    await one_pass(world)
    assert (await blob(world)).url == "https://x.test/b.png?sig=2"
    assert (await world.check("wf")).memory.wanted_at is None


async def test_a_url_from_an_unconfirmed_delivery_is_not_renewed_by_itself(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (503, {"title": "Busy"})
    upstream.answers["/b.png/refresh"] = (200, image("b.png", "https://x.test/b", datetime.now(UTC)))
    shown = image("b.png", "https://evil.test/b.png", datetime.now(UTC) - timedelta(minutes=1))
    step = {"name": "$0", "status": "succeeded", "output": {"images": [shown]}}
    await world.deliver("wf", "succeeded", details={"createdAt": datetime.now(UTC).isoformat(), "steps": [step]})
    for _ in range(3):
        await world.want("wf")
        await run_pass(world.config, world.database, world.redactor)
        await world.let_pass(timedelta(seconds=31))
    assert not any("refresh" in one.path for one in upstream.seen)
