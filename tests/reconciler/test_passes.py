"""One pass and out: what it takes, where it ends, what it leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from receiver.ledger.operations import passes
from reconciler.loop import run_pass
from tests.reconciler.world import Upstream, World, document


async def test_a_pass_works_until_nothing_is_due(world: World, upstream: Upstream) -> None:
    for n in range(50):
        upstream.answers[f"/wf{n}"] = (200, document(f"wf{n}"))
        await world.track(f"wf{n}")
    report = await run_pass(world.config, world.database, world.redactor)
    assert (report.outcome, report.counts["shown"], report.failed) == ("done", 50, 0)
    assert len(upstream.seen) == 50


async def test_a_pass_leaves_its_record(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf"))
    await world.track("wf")
    await run_pass(world.config, world.database, world.redactor, kind="cron")
    (row,) = await world.rows(passes)
    assert (row.kind, row.outcome) == ("cron", "done")
    assert row.started_at <= row.ended_at
    assert row.counts["shown"] == 1
    assert row.holder


async def test_a_pass_that_runs_has_its_record_already(world: World, upstream: Upstream) -> None:
    found: list[str | None] = []

    async def look() -> tuple[int, object]:
        found.extend(row.outcome for row in await world.rows(passes))
        return 200, document("wf")

    upstream.answers["/wf"] = look
    await world.track("wf")
    await run_pass(world.config, world.database, world.redactor)
    assert found == [None]


async def test_a_pass_stops_at_its_limit(world: World, upstream: Upstream) -> None:
    for n in range(5):
        await world.track(f"wf{n}")
    report = await run_pass(world.config, world.database, world.redactor, limit=3)
    assert report.outcome == "limit"
    assert len(upstream.seen) == 3


async def test_a_pass_stops_when_its_time_is_over_and_finishes_what_it_began(
    make_world: Callable[..., World], upstream: Upstream
) -> None:
    world = make_world(upstream.base_url, "concurrency = 1")
    upstream.pause = 0.2
    for n in range(20):
        upstream.answers[f"/wf{n}"] = (200, document(f"wf{n}"))
        await world.track(f"wf{n}")
    report = await run_pass(world.config, world.database, world.redactor, budget=timedelta(seconds=0.5))
    assert report.outcome == "budget"
    assert 1 <= len(upstream.seen) <= 5
    assert report.counts["shown"] == len(upstream.seen)


async def test_open_looks_once_at_everything_that_is_not_settled_due_or_not(world: World, upstream: Upstream) -> None:
    upstream.answers["/alive"] = (202, document("alive", "processing"))
    upstream.answers["/ended"] = (200, document("ended"))
    await world.deliver("alive", "processing")
    await world.deliver("ended", "succeeded", ago=timedelta(seconds=0))
    upstream.answers["/settled"] = (200, document("settled"))
    await world.track("settled")
    await run_pass(world.config, world.database, world.redactor)
    upstream.seen.clear()

    report = await run_pass(world.config, world.database, world.redactor, kind="open", open_only=True)
    assert report.outcome == "done"
    assert sorted(one.path.rpartition("/")[2] for one in upstream.seen) == ["alive", "ended"]
    assert (await world.known("ended")).node.confirmed_at is not None


async def test_a_dry_run_says_what_it_would_do_and_changes_nothing(world: World, upstream: Upstream) -> None:
    await world.track("wf")
    await world.deliver("quiet", "processing")
    before = await world.everything()
    report = await run_pass(world.config, world.database, world.redactor, dry_run=True)
    assert [(one["do"], one["id"], one["why"]) for one in report.planned] == [("refetch", "wf", "fresh")]
    report = await run_pass(world.config, world.database, world.redactor, dry_run=True, open_only=True)
    assert {one["id"] for one in report.planned} == {"wf", "quiet"}
    assert await world.everything() == before
    assert upstream.seen == []


async def test_a_budget_of_requests_is_kept(make_world: Callable[..., World], upstream: Upstream) -> None:
    world = make_world(upstream.base_url, 'budget = "3/min"')
    for n in range(10):
        upstream.answers[f"/wf{n}"] = (200, document(f"wf{n}"))
        await world.track(f"wf{n}")
    report = await run_pass(world.config, world.database, world.redactor)
    assert len(upstream.seen) == 3
    assert report.counts["shown"] == 3


async def test_each_look_is_one_log_line_without_its_query(
    world: World, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hookledger")
    upstream.answers["/wf"] = (200, document("wf"))
    await world.track("wf")
    await run_pass(world.config, world.database, world.redactor)
    (line,) = [record for record in caplog.records if record.getMessage() == "fetch"]
    fields = line.__dict__["fields"]
    assert fields["id"] == "wf"
    assert fields["answer"] == "shown"
    assert fields["status"] == 200
    assert fields["url"].endswith("/v2/consumer/workflows/wf")
    assert upstream.seen[0].query  # there was one


async def test_upstreams_clock_is_noted(world: World, upstream: Upstream) -> None:
    upstream.skew = timedelta(seconds=40)
    upstream.answers["/wf"] = (200, document("wf"))
    await world.track("wf")
    await run_pass(world.config, world.database, world.redactor)
    (row,) = await world.rows_of_sources()
    assert 38.5 < row.clock_offset < 41.5
