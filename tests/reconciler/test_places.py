"""The requests of one source that are under way at once, of all reconcilers together: never more than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.operations import passes, source_state
from reconciler import pauses
from reconciler.crew import Crew
from reconciler.loop import run_pass
from reconciler.pace import Pace, Part
from reconciler.passes import PassReport
from reconciler.places import HERE_FOR, Places, Sharing
from tests.reconciler.test_plan import at
from tests.reconciler.world import Upstream, World, daemons, document, until

LEASE = timedelta(seconds=90)
names = (f"source-{n}" for n in count())


def test_whoever_is_alone_has_every_place() -> None:
    assert Places(8).part("a") == Part(8, 4, 1)


def test_places_are_shared_evenly_once_all_have_said_so() -> None:
    places = Places(8)
    for holder in "abc":
        places.say(holder, 0, at(5))
    assert [places.part(holder).places for holder in "abc"] == [3, 3, 2]


def test_nobody_takes_what_another_holds() -> None:
    places = Places(8)
    places.say("a", 6, at(5))
    assert places.part("b").places == 2
    places.say("b", 2, at(5))
    assert places.part("a").places == 4
    places.say("a", 8, at(5))
    assert places.part("b").places == 0


def test_more_reconcilers_than_places_leave_some_with_none() -> None:
    places = Places(2)
    for holder in "abc":
        places.say(holder, 0, at(5))
    assert [places.part(holder).places for holder in "abc"] == [1, 1, 0]


def test_what_cannot_be_divided_goes_to_each_in_turn() -> None:
    places = Places(1)
    for holder in "abc":
        places.say(holder, 0, at(45))
    had = set()
    for second in range(0, 40, 10):
        parts = [Places.of(1, places.as_json(), at(second)).part(holder) for holder in "abc"]
        assert sum(part.places for part in parts) == sum(part.hints for part in parts) == 1
        had.add(tuple(part.places for part in parts))
    assert had == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_what_failed_and_hints_get_their_share_of_all_places_and_not_of_each_part() -> None:
    places = Places(8)
    for holder in "abcdefgh":
        places.say(holder, 0, at(5))
    parts = [places.part(holder) for holder in "abcdefgh"]
    assert [part.places for part in parts] == [1] * 8
    assert (sum(part.retries for part in parts), sum(part.hints for part in parts)) == (4, 1)


def test_who_was_killed_holds_its_places_for_a_moment_only() -> None:
    places = Places(8)
    places.say("dead", 8, at(5))
    kept = places.as_json()
    assert Places.of(8, kept, at(4.9)).part("b").places == 0
    assert Places.of(8, kept, at(5)).part("b").places == 8


def test_who_was_killed_before_the_clock_was_put_back_holds_nothing_for_ever() -> None:
    places = Places(8)
    places.say("dead", 8, at(3600))
    assert Places.of(8, places.as_json(), at(0)).part("b").places == 8


def test_who_has_left_leaves_nothing_behind() -> None:
    places = Places(8)
    places.say("a", 8, at(5))
    places.leave("a")
    assert places.as_json() is None


def test_those_who_are_there_say_so_in_time_to_be_believed_and_not_for_longer_than_a_lease() -> None:
    for lease, here_for in ((timedelta(seconds=90), HERE_FOR), (timedelta(seconds=3), timedelta(seconds=3))):
        assert here_for / 4 < Sharing({}, "p", lease).say_every < here_for / 3


class Lost(Exception):
    """The transaction is rolled back."""


def lose(*, really: bool) -> None:
    if really:
        raise Lost


class Shared:
    """Some processes that share one source, on a real database; their clock is made up."""

    def __init__(self, database: Database, concurrency: int, processes: int) -> None:
        self.database = database
        self.name = next(names)
        self.seconds = 0.0
        self.paces = [Pace(concurrency) for _ in range(processes)]
        sources: list[Any] = [{self.name: SimpleNamespace(pace=pace)} for pace in self.paces]
        self.sharings = [Sharing(one, f"p{n}", LEASE) for n, one in enumerate(sources)]

    async def settle(self, process: int, *, asks: bool, fails: bool) -> None:
        sharing = self.sharings[process]
        asking = [self.name] if asks else []
        with suppress(Lost):
            async with self.database.write() as connection:
                facts = await pauses.facts_of(connection, [self.name])
                kept = {name: fact.places for name, fact in facts.items()}
                found = await sharing.agree(connection, asking, kept, at(self.seconds), self.seconds)
                lose(really=fails)
            sharing.agreed(found, self.seconds)

    def fill(self, process: int) -> None:
        """Start as much as may be started."""
        while self.sharings[process].here and self.paces[process].free(self.seconds):
            self.paces[process].claimed()
            self.paces[process].started()

    def end(self, process: int) -> None:
        if self.paces[process].running:
            self.paces[process].ended()

    def wait(self) -> None:
        """Let a second pass; who has been silent for too long hangs, and has nothing under way any more."""
        self.seconds += 1
        for process, pace in enumerate(self.paces):
            while self.seconds >= pace.here_until and pace.running:
                self.end(process)

    @property
    def under_way(self) -> int:
        return sum(pace.running for pace in self.paces)

    async def everything(self) -> Any:
        async with self.database.read() as connection:
            query = select(source_state.c.places).where(source_state.c.source == self.name)
            return (await connection.execute(query)).scalar()


async def two_that_share(database: Database) -> Shared:
    """The first had all four places in use when the second came."""
    shared = Shared(database, 4, 2)
    await shared.settle(0, asks=True, fails=False)
    shared.fill(0)
    await shared.settle(1, asks=True, fails=False)
    assert [pace.part.places for pace in shared.paces] == [4, 0]
    return shared


async def test_what_is_under_way_still_is_left_to_others_as_it_ends(database: Database) -> None:
    shared = await two_that_share(database)
    for mine in (1, 2, 2):
        shared.end(0)
        await shared.settle(0, asks=True, fails=False)
        await shared.settle(1, asks=True, fails=False)
        shared.fill(0)
        assert [pace.part.places for pace in shared.paces] == [2, mine]


async def test_what_a_lost_transaction_took_is_not_used(database: Database) -> None:
    shared = await two_that_share(database)
    for _ in range(3):
        shared.end(0)
    await shared.settle(0, asks=True, fails=False)
    await shared.settle(1, asks=True, fails=True)
    assert [pace.part.places for pace in shared.paces] == [2, 0]
    await shared.settle(1, asks=True, fails=False)
    assert [pace.part.places for pace in shared.paces] == [2, 2]


async def test_what_is_about_to_be_left_to_others_is_not_used_any_more(database: Database) -> None:
    shared = await two_that_share(database)
    kept = {shared.name: await shared.everything()}
    async with database.write() as connection:
        await shared.sharings[0].agree(connection, [shared.name], kept, at(0), 0)
        shared.end(0)
        assert not shared.paces[0].free(0)


async def test_who_has_nothing_more_to_do_holds_what_is_under_way(database: Database) -> None:
    shared = Shared(database, 4, 2)
    await shared.settle(0, asks=True, fails=False)
    shared.fill(0)
    shared.wait()
    shared.wait()
    await shared.settle(0, asks=False, fails=False)
    await shared.settle(1, asks=True, fails=False)
    assert shared.paces[1].part.places == 0
    for _ in range(4):
        shared.end(0)
    shared.wait()
    shared.wait()
    await shared.settle(0, asks=False, fails=False)
    await shared.settle(1, asks=True, fails=False)
    assert shared.paces[1].part.places == 4


@pytest.fixture
def opened(database_url: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(database_url))
        yield runner, database
        runner.run(database.close())


DEEDS = st.tuples(st.sampled_from(["work", "work", "work", "ask", "end", "leave", "fail", "time"]), st.integers(0, 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 5), st.lists(DEEDS, min_size=20, max_size=60))
def test_after_anything_no_more_is_under_way_than_allowed(
    opened: tuple[asyncio.Runner, Database], concurrency: int, deeds: list[tuple[str, int]]
) -> None:
    runner, database = opened
    shared = Shared(database, concurrency, 2)
    for deed, process in deeds:
        if deed == "end":
            shared.end(process)
        elif deed == "time":
            shared.wait()
        else:
            runner.run(shared.settle(process, asks=deed != "leave", fails=deed == "fail"))
            if deed == "work":
                shared.fill(process)
        assert shared.under_way <= concurrency
    for _ in range(2 * concurrency):  # whatever has happened: in the end each has its part
        shared.seconds += 2
        for process in (0, 1, 0):
            shared.end(process)
            runner.run(shared.settle(process, asks=True, fails=False))
    assert sorted(pace.part.places for pace in shared.paces) == sorted((concurrency + n) // 2 for n in range(2))
    for process in range(2):
        while shared.paces[process].running:
            shared.end(process)
    shared.seconds += 2
    for process in range(2):
        runner.run(shared.settle(process, asks=False, fails=False))
    assert runner.run(shared.everything()) is None


@pytest.fixture
def few(make_world: Callable[..., World], upstream: Upstream) -> World:
    """A source that may be sent three requests at once."""
    return make_world(upstream.base_url, "concurrency = 3", 'deadline = "30d"')


async def settled(world: World, ids: list[str]) -> bool:
    return all([await world.status(one) == "succeeded" for one in ids])


async def test_three_reconcilers_share_the_places_of_a_source(few: World, upstream: Upstream) -> None:
    ids = [f"wf-{n:02}" for n in range(60)]
    for one in ids:
        upstream.answers[f"/{one}"] = (200, document(one))
        await few.track(one)
    upstream.pause = 0.2
    async with daemons(few, 3):
        await until(lambda: settled(few, ids), seconds=40)
    assert upstream.most_open == 3
    looks = [row.counts.get("looks", 0) for row in await few.rows(passes)]
    assert sum(looks) == 60
    assert min(looks) > 0
    assert [row.places for row in await few.rows_of_sources()] == [None]


async def test_a_pass_waits_for_a_place_that_others_hold(few: World, upstream: Upstream) -> None:
    let_go = asyncio.Event()

    async def hanging() -> tuple[int, object]:
        await let_go.wait()
        return 200, document("slow")

    ids = [f"wf-{n}" for n in range(6)]
    for one in ids:
        upstream.answers[f"/{one}"] = (200, document(one))
    for n in range(3):
        upstream.answers[f"/slow-{n}"] = hanging
        await few.track(f"slow-{n}")
    async with daemons(few, 1):
        await until(lambda: upstream.open == 3)
        for one in ids:
            await few.track(one)
        running = asyncio.create_task(run_pass(few.config, few.database, few.redactor))
        await asyncio.sleep(2)
        assert not running.done()
        assert (upstream.open, upstream.most_open) == (3, 3)
        let_go.set()
        report = await asyncio.wait_for(running, 20)
    assert report.outcome == "done"
    assert await settled(few, ids)
    assert upstream.most_open == 3


async def test_a_pass_that_claims_no_more_keeps_the_places_of_what_is_under_way(few: World, upstream: Upstream) -> None:
    let_go = asyncio.Event()

    async def hanging() -> tuple[int, object]:
        await let_go.wait()
        return 200, document("slow")

    for n in range(6):
        upstream.answers[f"/slow-{n}"] = hanging
        await few.track(f"slow-{n}")
    running = asyncio.create_task(run_pass(few.config, few.database, few.redactor, limit=3))
    await until(lambda: upstream.open == 3)
    async with daemons(few, 1):
        await asyncio.sleep(HERE_FOR.total_seconds() + 1)
        assert (upstream.open, upstream.most_open) == (3, 3)
        let_go.set()
        report = await asyncio.wait_for(running, 20)
    assert (report.outcome, upstream.most_open) == ("limit", 3)


async def test_who_begins_no_more_leaves_to_others_what_it_does_not_need(database: Database) -> None:
    shared = Shared(database, 4, 2)
    await shared.settle(0, asks=True, fails=False)
    shared.fill(0)
    for _ in range(3):
        shared.end(0)
    shared.wait()
    shared.wait()
    await shared.settle(0, asks=False, fails=False)
    await shared.settle(1, asks=True, fails=False)
    assert [pace.part.places for pace in shared.paces] == [1, 3]


async def test_the_places_of_a_killed_reconciler_are_free_a_moment_later(few: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf"))
    await few.track("wf")
    async with few.database.write() as connection:
        places = Places(3)
        places.say("killed", 3, await database_now(connection) + timedelta(seconds=1))
        values = {"source": "civitai", "hint_count": 0, "places": places.as_json()}
        await connection.execute(insert(source_state).values(values))
    report = await run_pass(few.config, few.database, few.redactor)
    assert report.outcome == "done"
    assert await few.status("wf") == "succeeded"


async def test_who_waits_in_vain_or_has_nothing_to_do_writes_nothing(few: World, upstream: Upstream) -> None:
    await few.track("wf")
    async with few.database.write() as connection:
        places = Places(3)
        places.say("busy", 3, await database_now(connection) + timedelta(seconds=30))
        values = {"source": "civitai", "hint_count": 0, "places": places.as_json()}
        await connection.execute(insert(source_state).values(values))
    crew = Crew(few.config, few.database, few.redactor, PassReport("cron"))
    async with crew:
        assert await crew.claim() == 0  # says that it wants a place
        before = await few.rows_of_sources()
        assert crew.claims.waiting
        assert len(before[0].places) == 2
        async with few.database.write() as connection:
            await connection.exec_driver_sql("UPDATE source_state SET clock_offset = clock_offset")
            assert await asyncio.wait_for(crew.claim(), 0.5) == 0  # whoever would write now would have to wait for us
        assert crew.claims.waiting
        assert await few.rows_of_sources() == before
    assert upstream.seen == []
