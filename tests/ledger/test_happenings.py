"""Whoever follows what happens misses nothing: whatever the order of commits, the pages, and what is deleted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest
from sqlalchemy import select

from receiver.ledger import happenings
from receiver.ledger.apply import apply
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import Database
from receiver.ledger.happenings import Place, place_of
from receiver.ledger.tables import transitions, workflows
from tests.ledger.applying import delivery, put, saw
from tests.ledger.histories import at


async def here(database: Database, second: float = 0) -> Place:
    async with database.read() as connection:
        return await happenings.present(connection, at(second))


async def follow(
    database: Database, place: Place, second: float = 0, *, limit: int = 200, **wanted
) -> tuple[list, Place]:
    """All there is after a place, through the text a client would hold, page by page."""
    found, more = [], True
    while more:
        async with database.read() as connection:
            place = place_of(place.encode(), database.dialect)
            told, place, more = await happenings.following(connection, place, at(second), limit=limit, **wanted)
        found += [(one["source"], one["workflow"], one["seq"]) for _, one in told]
    return found, place


async def all_of(database: Database) -> set:
    query = select(workflows.c.source, workflows.c.id, transitions.c.seq).join_from(transitions, workflows)
    async with database.read() as connection:
        return {tuple(row) for row in await connection.execute(query)}


async def test_what_is_committed_out_of_order_is_told_all_the_same(postgres_database: Database) -> None:
    database = postgres_database
    place = await here(database)
    async with database.write() as slow:
        await apply(slow, [delivery(0, saw("processing"), wf="slow")], at(0))
        await put(database, delivery(1, saw("processing"), wf="fast"))
        found, place = await follow(database, place)
        assert found == [("civ", "fast", 1)]
        await put(database, delivery(2, saw("succeeded"), wf="fast"))
    found, place = await follow(database, place)
    assert sorted(found) == [("civ", "fast", 2), ("civ", "slow", 1)]
    assert (await follow(database, place))[0] == []


async def test_a_reader_that_breaks_off_anywhere_among_writers_misses_nothing(database: Database) -> None:
    """Six writers commit in any order; the reader takes pages of two and begins anew from the id of any event."""
    random = Random(7)
    place, seen, done = await here(database), [], asyncio.Event()

    async def writer(number: int) -> None:
        for turn in range(8):
            name = f"wf-{number}-{turn}"
            async with database.write() as connection:
                await apply(connection, [delivery(turn, saw("processing"), wf=name)], at(turn))
                if database.dialect == "postgresql":
                    await asyncio.sleep(random.random() * 0.02)  # the later it began, the earlier it may commit
            await put(database, delivery(turn + 1, saw("succeeded"), wf=name), now=turn + 1)

    async def reader() -> None:
        nonlocal place
        ended = False
        while not ended:
            ended = done.is_set()
            more = True
            while more:
                async with database.read() as connection:
                    told, place, more = await happenings.following(connection, place, at(0), limit=2)
                seen.extend((one["source"], one["workflow"], one["seq"]) for _, one in told)
                if told and random.random() < 0.5:  # it broke off behind the first of them
                    del seen[len(seen) - len(told) + 1 :]
                    place, more = place_of(told[0][0], database.dialect), True
            await asyncio.sleep(0.005)

    reading = asyncio.create_task(reader())
    await asyncio.gather(*(writer(n) for n in range(6 if database.dialect == "postgresql" else 2)))
    done.set()
    await reading
    assert len(seen) == len(set(seen)), "something was told twice"
    assert set(seen) == await all_of(database)


async def test_pages_of_any_size_tell_the_same_in_the_same_order(database: Database) -> None:
    place = await here(database)
    for second in range(7):
        await put(database, *(delivery(second, saw("processing"), wf=f"wf-{second}-{n}") for n in range(3)))
    whole, end = await follow(database, place)
    assert len(whole) == 21
    for limit in (1, 2, 5):
        assert await follow(database, place, limit=limit) == (whole, end)


async def test_what_happens_can_be_narrowed_down(database: Database) -> None:
    place = await here(database)
    await put(database, delivery(0, saw("processing"), wf="a"), delivery(0, saw("processing"), wf="b"))
    await put(database, delivery(1, saw("processing"), wf="a", source="other"))
    assert (await follow(database, place, workflow="a", limit=1))[0] == [("civ", "a", 1), ("other", "a", 1)]
    assert (await follow(database, place, source="other"))[0] == [("other", "a", 1)]
    assert (await follow(database, place, source="nobody"))[0] == []


async def test_rows_that_take_the_numbers_of_deleted_ones_are_told(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    try:
        await put(database, delivery(0, saw("processing"), wf="old"), delivery(0, saw("failed"), wf="older"))
        _, place = await follow(database, Place(at="2026-03-01T12:00:00.000000+00:00"))
        async with database.write() as connection:
            await connection.execute(workflows.delete())
        await put(database, delivery(5, saw("processing"), wf="new"), delivery(5, saw("failed"), wf="newer"))
        found, _ = await follow(database, place)
        assert sorted(found) == [("civ", "new", 1), ("civ", "newer", 1)]
    finally:
        await database.close()


@pytest.mark.parametrize(
    "place",
    [
        Place(), Place("5:4:"), Place("x"), Place("4:5:9"), Place("4:9:6,5"), Place("4:5:", "x"), Place("0:0:"),
        Place("4:5:" + "4," * 20_000), Place("99999999999999999999:99999999999999999999:"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_is_refused(place: Place) -> None:
    for dialect in ("postgresql", "sqlite"):
        for at_home in (place, replace(place, at="2026-03-01T12:00:00+00:00", home="7.1")):
            with pytest.raises(BadCursor):
                place_of(at_home.encode(), dialect)


@pytest.mark.parametrize("when", ["", "x", "2026-03-01T12:00:00", "0001-01-01T00:00:00+00:00"])
def test_a_place_at_no_time_is_refused(when: str) -> None:
    assert place_of(Place("4:5:4", at="2026-03-01T12:00:00+00:00", home="7.1").encode(), "postgresql").home == "7.1"
    with pytest.raises(BadCursor):
        place_of(Place("4:5:4", at=when, home="7.1").encode(), "postgresql")
