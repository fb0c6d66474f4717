"""How it all is going, over HTTP: totals, what happened when, how well each source's news came in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from receiver.config import Config
from receiver.ledger import stats, tallies
from receiver.ledger.database import Database
from receiver.ledger.derived import figure_deltas
from receiver.ledger.learning import Lessons
from receiver.ledger.query_parts import stamp
from receiver.web.answers import clock
from receiver.web.janitor import sweep_forever
from tests.web.asking import Api, Upstream, document, make_token
from tests.web.client import ask
from tests.web.conftest import Running


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "read"))


@pytest.fixture
def upstream(database: Database, config: Config) -> Upstream:
    return Upstream(database, config)


async def source(api: Api, name: str = "civ") -> Any:
    return next(one for one in (await api.get("/v1/sources")).json["items"] if one["name"] == name)


async def test_a_source_tells_what_came_in_today_and_how(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "succeeded")
    await api.deliver("wf-1", "succeeded")
    await api.deliver("wf-2", "processing")
    await upstream.settle("wf-2", document("wf-2"))
    await ask("POST", api.running.hook(), b"not understood")
    await ask("POST", api.running.hook(token="wrong"), b"{}")
    told = await source(api)
    today = told["last_day"]
    assert (told["open"], told["workflows"]["succeeded"], told["attention"]) == (0, 2, {"unreadable": 1})
    assert today["deliveries"] == {"applied": 2, "duplicate": 1, "recorded": 0, "hint": 0, "quarantined": 1}
    assert today["learned"] == {"delivery": 1, "look": 1, "track": 0}
    assert (today["created"], today["ended"]["succeeded"], today["undelivered"]) == (2, 2, 1)
    assert today["missed"]["endings"] == 0  # too young to tell
    assert (await source(api, "hinted"))["last_day"]["missed"]["missed"] is None


async def test_an_ending_is_missed_once_upstream_can_no_longer_deliver_it(
    api: Api, upstream: Upstream, database: Database
) -> None:
    await api.deliver("wf-1", "processing")
    await upstream.settle("wf-1", document("wf-1"))
    await api.deliver("wf-2", "succeeded")
    later = clock() + timedelta(minutes=8)
    async with database.read() as connection:
        told = await stats.of_sources(connection, later, {"civ": timedelta(seconds=30)}, {})
    assert told["civ"]["missed"] | {"since": None, "until": None} == {
        "since": None, "until": None, "endings": 2, "missed": 1, "rate": 0.5,
    }  # fmt: skip


async def test_statistics_tell_totals_and_what_happened_by_the_minute_and_the_hour(api: Api) -> None:
    for number in range(3):
        await api.deliver(f"wf-{number}", "processing")
    await api.deliver("wf-0", "failed")
    for span in ("minute", "hour"):
        told = (await api.get("/v1/stats", span=span)).json
        assert told["totals"]["workflows"]["processing"] == 2
        assert (told["totals"]["open"], told["sources"]["civ"]["workflows"]["failed"]) == (2, 1)
        assert sum(point["created"] for point in told["series"]) == 3
        assert sum(point["ended"]["failed"] for point in told["series"]) == 1
    assert (await api.get("/v1/stats", source="hinted")).json["series"] == []
    past = stamp(clock() - timedelta(days=400))
    assert (await api.get("/v1/stats", until=past)).json["series"] == []


@pytest.mark.parametrize(
    "query", [{"span": "day"}, {"since": "2020-01-01T00:00:00Z"}, {"since": "x"}, {"source": ""}, {"spam": "hour"}]
)
async def test_what_cannot_be_asked_of_statistics_is_a_clear_problem(api: Api, query: dict[str, str]) -> None:
    assert (await api.get("/v1/stats", **query)).json["type"] == "/problems/bad-filter"


async def test_the_janitor_folds_what_there_is_and_leaves_the_figures_as_they_are(api: Api, database: Database) -> None:
    await api.deliver("wf-1", "succeeded")
    before = (await api.get("/v1/stats")).json
    sweeper = asyncio.create_task(sweep_forever(database, Lessons(), every=0.01))
    async with asyncio.timeout(10):
        while await unfolded(database):  # noqa: ASYNC110 - the janitor is another's
            await asyncio.sleep(0.01)
    sweeper.cancel()
    after = (await api.get("/v1/stats")).json
    assert (after["totals"], after["series"]) == (before["totals"], before["series"])


async def unfolded(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(figure_deltas))).scalar_one())


async def test_series_by_the_minute_are_kept_for_days_and_those_by_the_hour_stay(api: Api, database: Database) -> None:
    await api.deliver("wf-1", "succeeded")
    async with database.write() as connection:
        await tallies.fold(connection)
        await tallies.forget_minutes(connection, clock() + tallies.MINUTES_KEPT + timedelta(minutes=2))
    assert (await api.get("/v1/stats", span="minute")).json["series"] == []
    assert len((await api.get("/v1/stats", span="hour")).json["series"]) == 1


def test_percentiles_of_a_lag_are_near_the_truth_and_know_the_clocks_difference() -> None:
    counts = {"lag.12": 50, "lag.17": 45, "lag.26": 5}
    told = stats.lag_json(counts)
    assert told["count"] == 100
    assert 0.8 < told["p50"] <= 1.3
    assert 6 < told["p90"] <= 10
    assert 250 < told["p99"] <= 380
    assert stats.lag_json(counts, offset=-2.0)["p50"] == 0.0
    assert stats.lag_json({})["p50"] is None
