"""Latency at rates a server can keep up with, and what a burst of many times its usual rate does to it."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from tests.bench.bounds import Bound
from tests.bench.contenders import Contender
from tests.bench.measure import Plan, Series, Traffic
from tests.bench.paced import SLOT, Job, Phase, Report
from tests.bench.probing import insert_and_commit
from tests.bench.processes import TARGET, BenchFailed
from tests.bench.tables import spread

RATES = (100.0, 1000.0)
PROBED = 1.0  # seconds of inserting and committing before each round, or half of a shorter round
WITHIN = 10.0  # times the median of an insert and its commit: issue 4's bound for p99 at 1000/s
# Handlers as teams write them cannot keep up with the higher rate: their latency would be the length of the round.
SLOW = ("orm", "django-2")


@dataclass
class Latency:
    """All rounds of one contender at one rate, and the median of a bare insert and commit (ms) before each round, on
    the same sort of database; `load` is the load generator's share of a core."""

    contender: Contender
    rate: float
    rounds: list[Phase] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)


def send(mine: Series, job: Job) -> Report:
    """Put a paced load on a contender and note what it acknowledged."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.paced", orjson.dumps(asdict(job)).decode()],
        capture_output=True,
        check=False,
    )
    if told.returncode:
        raise BenchFailed(f"the load on {mine.name} failed: {told.stderr.decode(errors='replace')[-800:]}")
    found = orjson.loads(told.stdout)
    report = Report(**found | {"phases": [Phase(**one) for one in found["phases"]]})
    mine.acknowledged.append(Path(job.acknowledged))
    mine.sent += report.answers
    mine.loaded += report.wall
    return report


def job(mine: Series, phases: list[tuple[float, float]], traffic: Traffic, connections: int) -> Job:
    """Return the next paced job of a contender."""
    one = mine.contender
    file = one.log.with_name(f"{one.name}-paced-{len(mine.acknowledged)}.acknowledged")
    return Job(
        port=one.port,
        target=TARGET,
        phases=phases,
        traffic=str(traffic.file(one.kind)),
        first=mine.sent,
        acknowledged=str(file),
        connections=connections,
        seed=len(mine.acknowledged),
    )


def measure_rates(series: Mapping[str, Series], plan: Plan, folder: Path) -> list[Latency]:
    """Run all rounds at each rate, the contenders in turn."""
    traffic = Traffic(folder)
    found = [
        Latency(mine.contender, rate)
        for rate in RATES
        for name, mine in series.items()
        if name not in SLOW or rate == min(RATES)
    ]
    for _ in range(plan.rounds):
        for one in found:
            mine = series[one.contender.name]
            probe = one.contender.database if one.contender.server else f"sqlite:///{folder}/probe.db"
            one.commit.append(insert_and_commit(probe, min(PROBED, plan.seconds / 2)))
            phases = [(one.rate, plan.warm), (one.rate, plan.seconds)]
            report = send(mine, job(mine, phases, traffic, plan.connections))
            one.rounds.append(report.phases[1])
            one.load.append(report.cpu / report.wall)
    return found


def of_rates(found: Sequence[Latency]) -> list[Bound]:
    """Return issue 4's bound on the latency at 1000/s."""
    named = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
    return [
        Bound(
            f"{named[one.contender.name]}: p99 at 1000/s / p50 of an insert and its commit",
            WITHIN,
            [phase.p99 / commit for phase, commit in zip(one.rounds, one.commit, strict=True)],
            at_most=True,
        )
        for one in found
        if one.rate == max(RATES) and one.contender.name in named
    ]


def print_rates(console: Console, found: Sequence[Latency], plan: Plan) -> None:
    """Print latencies by rate and contender."""
    table = Table(title="Latency at fixed rates, ms, from when each delivery was due")
    columns = ("", "per second", "p50", "p99", "p99.9", "commit p50", "p99 in commits", "load")
    for column in columns:
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for one in found:
        table.add_row(
            one.contender.kind.title,
            f"{one.rate:g}",
            spread([phase.p50 for phase in one.rounds], 1),
            spread([phase.p99 for phase in one.rounds], 1),
            spread([phase.p999 for phase in one.rounds], 1),
            spread(one.commit, 2),
            spread([phase.p99 / commit for phase, commit in zip(one.rounds, one.commit, strict=True)], 1),
            f"{statistics.median(one.load):.2f}",
        )
    console.print(table)
    console.print(
        f"  {plan.rounds} rounds of {plan.seconds:g} s each, at random instants. The insert is into the same"
        " sort of database, at 1000/s, before each round.",
        highlight=False,
    )


@dataclass
class Burst:
    """One burst on one contender: `usual` and `burst` are deliveries per second, `seconds` is how long it lasts."""

    contender: Contender
    usual: float
    burst: float
    seconds: float
    connections: int
    report: Report


def measure_bursts(
    series: Mapping[str, Series], folder: Path, usual: float, times: float, seconds: float, connections: int
) -> list[Burst]:
    """Send the usual rate for a while, a burst of so many times that rate, and the usual rate again."""
    traffic, found = Traffic(folder), []
    for mine in series.values():
        phases = [(usual, min(2 * seconds, 5.0)), (usual * times, seconds), (usual, min(3 * seconds, 10.0))]
        report = send(mine, job(mine, phases, traffic, connections))
        found.append(Burst(mine.contender, usual, usual * times, seconds, connections, report))
    return found


def print_bursts(console: Console, found: Sequence[Burst]) -> None:
    """Print what each burst did, and its course."""
    for one in found:
        report, calm = one.report, one.report.phases[0]
        refused, waiting = report.statuses.get("503", 0), max((slot[3] for slot in report.course), default=0)
        console.print(
            f"Burst on {one.contender.kind.title}: {one.burst:,.0f}/s for {one.seconds:g} s after {one.usual:g}/s, over"
            f" {one.connections} connections. At {one.usual:g}/s p99 is {calm.p99:.1f} ms; of the burst's"
            f" {report.phases[1].due:,} deliveries p50 {report.phases[1].p50:,.0f} ms, p99 {report.phases[1].p99:,.0f}"
            f" ms; at most {waiting:,} waited; {refused:,} answers were 503 and came again; drained"
            f" {report.drained[1]:.1f} s after its end; every one of {report.answers:,} was answered"
            f" ({report.broken} connections broken); afterwards p50 {report.phases[2].p50:.1f} ms."
            f" Load {report.cpu / report.wall:.2f} of a core.",
            highlight=False,
        )
        table = Table(title=f"Course of the burst, {one.contender.kind.title}")
        for column in ("second", "due", "answered", "503", "waiting", "longest ms"):
            table.add_column(column, justify="right")
        for place, (due, done, refusals, queue, longest) in enumerate(report.course):
            if place % 2 == 0 or refusals:
                row = (f"{place * SLOT:.2f}", f"{due:,}", f"{done:,}", f"{refusals:,}", f"{queue:,}", f"{longest:,.0f}")
                table.add_row(*row)
        console.print(table)
