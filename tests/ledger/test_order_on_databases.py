"""R5 once more, through the real write path of both databases: batches of any size, and the ledger read back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry
from receiver.ledger.evidence import dedupe_key
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, Trust
from tests.ledger.applying import loaded
from tests.ledger.histories import Arrival, arrivals, at, event_facts, histories, play, settled_view


@pytest.fixture
def opened(database_url):
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(database_url))
        yield runner, database
        runner.run(database.close())


def entry_of(arrival: Arrival, name: str, trust: Trust) -> Entry:
    kind = EvidenceKind.FETCH if arrival.look else EvidenceKind.DELIVERY
    key, digest = dedupe_key("", (), f"{name} {arrival.name}".encode())
    return Entry(
        "civ", Policy(trust), kind, at(arrival.second), name, replace(arrival.reading, workflow_id=name),
        None if arrival.look else trust, body=arrival.name.encode(), body_sha256=digest,
        key=None if arrival.look else key, http_date=at(arrival.second) if arrival.look else None,
    )  # fmt: skip


async def put_all(database: Database, entries: list[Entry], cuts: list[int]) -> None:
    edges = sorted({0, len(entries), *(cut % (len(entries) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        async with database.write() as connection:
            await apply(connection, entries[start:end], entries[end - 1].at)


names = (f"wf-{n}" for n in count())


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.data(), histories(), st.sampled_from([Trust.SIGNED, Trust.TOKEN]), st.booleans(),
    st.lists(st.integers(0, 40), max_size=6), st.sampled_from([3, 40]),
)  # fmt: skip
def test_whatever_arrives_in_whatever_batches_the_stored_ledger_settles_to_the_truth(
    opened, data, history, trust, looks, cuts, wait
):
    runner, database = opened
    found = arrivals(data.draw, history, looks=looks)
    second = max([history.lasts, *(one.second for one in found)]) + wait
    look = Arrival(second, history.look(second), "last-look", look=True)
    name = next(names)
    runner.run(put_all(database, [entry_of(one, name, trust) for one in [*found, look]], cuts))
    state = runner.run(loaded(database, name))
    assert settled_view(state) == settled_view(play([look], trust))
    assert event_facts(state) == event_facts(play([*found, look], trust))
