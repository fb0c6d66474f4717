"""Looks teach how long workflows take, on both databases, and the API says why the next look is when it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from receiver.ledger import learning, queries
from receiver.ledger.database import Database, now
from receiver.ledger.durations import Durations
from receiver.ledger.entries import Answer
from receiver.ledger.records import Trust
from reconciler.loop import run_pass
from reconciler.refetch import Asked
from reconciler.teaching import Teacher
from tests.ledger.applying import answer, claim_one, delivery, put, saw
from tests.reconciler.world import Upstream, World, document

AGO = timedelta(seconds=100)


def ended(name: str) -> dict[str, object]:
    stamp = (datetime.now(UTC) - timedelta(seconds=40)).isoformat()
    return document(name, "succeeded", completedAt=stamp, createdAt=(datetime.now(UTC) - AGO).isoformat())


async def test_a_pass_writes_down_how_long_the_workflows_took_that_it_saw_end(world: World, upstream: Upstream) -> None:
    for n in range(3):
        upstream.answers[f"/wf{n}"] = (200, ended(f"wf{n}"))
        await world.track(f"wf{n}", ago=AGO)
    upstream.answers["/open"] = (200, document("open", "processing"))
    await world.track("open", ago=AGO)
    await run_pass(world.config, world.database, world.redactor)
    async with world.database.read() as connection:
        known = (await learning.read(connection, ["civitai"]))["civitai"]
    assert set(known) == {("", ""), ("", "echo")}
    assert round(known["", ""].weight) == 3
    assert (known["", ""].surviving(20), known["", ""].surviving(150)) == (3.0, 0.0)
    assert known["", ""].missed == 3.0, "no delivery told of them"
    await run_pass(world.config, world.database, world.redactor)
    async with world.database.read() as connection:
        again = (await learning.read(connection, ["civitai"]))["civitai"]
    assert again == known, "what is confirmed already teaches nothing again"


async def test_the_api_says_which_share_has_ended_by_the_next_look(world: World) -> None:
    known = Durations()
    for _ in range(20):
        known.add(Durations.of(20.0))
    async with world.database.write() as connection:
        await learning.write(connection, {"civitai": {("", "echo"): known}}, await now(connection))
    await world.track("wf", ago=timedelta(0))
    async with world.database.read() as connection:
        found = await queries.workflow(connection, "civitai", "wf", await now(connection))
    assert found is not None
    assert found["check"]["because"].startswith("next look in ")
    assert found["check"]["because"].endswith("% of echo alive now end by then")


async def test_a_source_that_names_ever_new_models_does_not_fill_the_table(world: World) -> None:
    many = {(f"model-{n}", "echo"): Durations.of(5.0) for n in range(learning.MOST_KINDS + 50)}
    for _ in range(2):
        async with world.database.write() as connection:
            lessons = {"civitai": {**many, ("", ""): Durations.of(5.0)}}
            await learning.write(connection, lessons, await now(connection))
    async with world.database.read() as connection:
        known = (await learning.read(connection, ["civitai"]))["civitai"]
    assert ("", "") in known
    assert len(known) <= learning.MOST_KINDS


@pytest.mark.parametrize(("trust", "learned"), [(Trust.SIGNED, False), (Trust.TOKEN, True)])
async def test_an_ending_confirmed_by_a_delivery_while_a_look_was_under_way_is_the_receivers_to_teach(
    database: Database, trust: Trust, learned: bool
) -> None:
    await put(database, delivery(0, saw("processing"), trust=trust))
    claim = await claim_one(database, 130)
    await put(database, delivery(131, saw("succeeded"), trust=trust, body=b"the end"))
    look = answer(130.5, claim, saw("succeeded"))
    (result,) = await put(database, look, now=132)
    teacher = Teacher(database, {})
    teacher.note(Asked(look, Answer.SHOWN, 200), result)
    await teacher.close()
    async with database.read() as connection:
        known = (await learning.read(connection, ["civ"]))["civ"]
    assert bool(known) is learned
