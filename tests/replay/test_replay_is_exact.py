"""Replay makes of all evidence what the ledger holds, whatever happened; and it names what differs."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from receiver.ledger.database import Database
from receiver.ledger.records import Level, Observation, Reading
from receiver.ledger.states import Status
from tests.ledger.histories import Arrival, arrivals, histories
from tests.replay.playing import SOURCE, Stage
from tests.replay.told import WORDS, Told

# A run by hand is the same code: HOOKLEDGER_REPLAY_WORKFLOWS=10000.
WORKFLOWS = int(os.environ.get("HOOKLEDGER_REPLAY_WORKFLOWS", "300"))


@pytest.fixture
def opened(database_url):
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(database_url))
        yield runner, database
        runner.run(database.close())


names = (f"wf-{n}" for n in count())


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making an example smaller would take minutes on a database
)
@given(st.data(), histories(), st.sampled_from(["token", "signed", "hint"]), st.booleans(), st.booleans())
def test_whatever_happened_replay_finds_no_difference(opened, database_url, tmp_path, data, history, trust, again, end):
    runner, database = opened
    stage = Stage.made(database, database_url, tmp_path, Told(restartable=again), trust)
    found = arrivals(data.draw, history, looks=True)
    cuts = data.draw(st.lists(st.integers(0, 40), max_size=8))
    name = next(names)
    random = Random(data.draw(st.integers(0, 2**32)))
    # Duplicates that come when a look has said otherwise meanwhile, and looks that meet nothing or an error.
    late = [Arrival(history.lasts + 300 + n, one.reading, one.name) for n, one in enumerate(found) if not one.look][:3]
    runner.run(stage.play(found, name, cuts))
    if data.draw(st.booleans()):
        runner.run(stage.track(history.lasts + 250, id=name, ref="order-7", context={"team": "red"}))
    for n in range(random.randrange(3)):
        status = random.choice([404, 503, 403])
        runner.run(stage.look(name, history.lasts + 280 + 40 * n, None, status=status))
    if end:
        last = Arrival(history.lasts + 290, history.look(history.lasts + 290), "last-look", look=True)
        runner.run(stage.play([last], name, []))
    runner.run(stage.play(late, name, cuts))
    assert runner.run(stage.differences(ids=[name])) == []


async def played(stage: Stage, workflows: int, seed: int = 7) -> dict[str, list[str]]:
    """Play made-up lives of many workflows; returns the status words that each of them was told by."""
    random = Random(seed)
    told: dict[str, list[str]] = {}
    for n in range(workflows):
        name, second = f"many-{n}", float(n)
        words = ["preparing", "processing", random.choice(["succeeded", "failed", "canceled"])]
        told[name] = [word for word in words if random.random() < 0.9]
        entries = []
        for place, word in enumerate(told[name]):
            seen = Observation(Level.WORKFLOW, status=WORDS[word], word=word)
            step = Observation(Level.STEP, "$0", status=WORDS[word], word=word, facts={"output": {"n": n}})
            reading = Reading(name, (seen, step))
            entries.append(stage.delivery(reading, second + place, ref=f"order-{n}"))
        entries += random.sample(entries, len(entries) // 2)
        if entries:
            await stage.put(*entries, now=second + 3)
        if random.random() < 0.3 and told[name]:
            await stage.look(name, second + 40, Reading(name, entries[-1].reading.observations, snapshot=True))
    return told


async def test_a_whole_run_replays_without_a_difference_and_a_changed_word_names_exactly_whom_it_concerns(
    database: Database, database_url: str, tmp_path
) -> None:
    stage = Stage.made(database, database_url, tmp_path)
    told = await played(stage, WORKFLOWS)
    replay = stage.replay()
    assert [one async for one in replay.differences()] == []
    assert replay.report.workflows == sum(1 for words in told.values() if words)
    assert replay.report.not_replayable == {}
    changed = Told({**WORDS, "canceled": Status.FAILED})
    found = await stage.differences(changed)
    assert {one.id for one in found} == {name for name, words in told.items() if "canceled" in words}
    assert all(
        {"what": "workflow.status", "stored": "canceled", "derived": "failed"} in one.differences for one in found
    )
    assert {one.source for one in found} == {SOURCE}


async def test_what_was_known_of_before_does_not_count_although_the_clock_was_set_back(
    database, database_url, tmp_path
):
    stage = Stage.made(database, database_url, tmp_path, trust="hint")
    seen = Reading("wf", (Observation(Level.WORKFLOW, status=Status.PROCESSING, word="processing"),), snapshot=True)
    await stage.put(stage.delivery(seen, 1), now=1)
    await stage.look("wf", 90, None, status=503)
    await stage.look("wf", 50, seen)
    assert await stage.differences() == []
