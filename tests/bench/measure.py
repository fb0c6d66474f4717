"""One round: load on one contender, and what that cost it. Rounds alternate, so that a noisy moment hits all alike."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import asyncpg
import orjson

from tests.bench import machine
from tests.bench.contenders import TARGET, BenchFailed, Contender
from tests.bench.load import Job, Report

APART = 500  # numbers of traffic between two rounds; a round uses the next one each time it runs out of requests


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    seconds: float
    warm: float
    rounds: int
    connections: int = 64


@dataclass(frozen=True)
class Round:
    """One round of one contender. CPU is µs per delivery; shares are of one core; `grown` and `written` are bytes
    per delivery: what the database's files grew by, and what went to disk (the server's own writes, or PostgreSQL's
    WAL). None where there is nothing to say. `others_share` is what the rest of the machine used meanwhile."""

    load: Report
    server_cpu: float
    server_share: float
    database_cpu: float
    database_share: float
    load_share: float
    others_share: float
    written: float | None
    grown: float | None


@dataclass
class Series:
    """All rounds of one contender, and its memory in MiB: at the start, after 10 s of load, at the end, at most."""

    contender: Contender
    rounds: list[Round] = field(default_factory=list)
    acknowledged: list[Path] = field(default_factory=list)
    at_start: float = 0.0
    after_10s: float | None = None
    at_end: float = 0.0
    at_most: float = 0.0
    loaded: float = 0.0

    @property
    def name(self) -> str:
        return self.contender.name

    def look_at_memory(self) -> None:
        """Note the memory as of now."""
        self.at_end, self.at_most = machine.memory(self.contender.pid)
        if not self.rounds:
            self.at_start = self.at_end
        elif self.after_10s is None and self.loaded >= 10:
            self.after_10s = self.at_end


def measure(contenders: Sequence[Contender], plan: Plan, folder: Path) -> dict[str, Series]:
    """Run all rounds, every contender once in each, in another order each time."""
    series = {one.name: Series(one) for one in contenders}
    for mine in series.values():
        mine.look_at_memory()
    for number in range(plan.rounds):
        turn = number % len(contenders)
        for one in (*contenders[turn:], *contenders[:turn]):
            acknowledged = folder / f"{one.name}-{number}.acknowledged"
            mine = series[one.name]
            mine.rounds.append(_round(one, plan, number * APART, acknowledged))
            mine.acknowledged.append(acknowledged)
            mine.loaded += mine.rounds[-1].load.wall
            mine.look_at_memory()
    return series


def _round(contender: Contender, plan: Plan, number: int, acknowledged: Path) -> Round:
    job = Job(
        port=contender.port,
        target=TARGET,
        seconds=plan.seconds,
        warm=plan.warm,
        number=number,
        acknowledged=str(acknowledged),
        connections=plan.connections,
    )
    children = _children_cpu()
    before = _Costs.of(contender)
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.load", orjson.dumps(asdict(job)).decode()],
        capture_output=True,
        check=False,
    )
    if told.returncode:
        raise BenchFailed(f"the load on {contender.name} failed: {told.stderr.decode(errors='replace')[-800:]}")
    after = _Costs.of(contender)
    told_cpu = _children_cpu() - children
    load = Report(**orjson.loads(told.stdout))
    server, database = after.server - before.server, after.database - before.database
    others = (after.everyone - before.everyone) - (server + database + told_cpu)
    written = None if after.written is None or before.written is None else (after.written - before.written)
    grown = None if after.size is None or before.size is None else (after.size - before.size)
    return Round(
        load,
        server_cpu=server / load.answers * 1e6,
        server_share=server / load.wall,
        database_cpu=database / load.answers * 1e6,
        database_share=database / load.wall,
        load_share=load.cpu / load.wall,
        others_share=max(others / (after.at - before.at), 0.0),
        written=None if written is None else written / load.answers,
        grown=None if grown is None else grown / load.answers,
    )


def _children_cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@dataclass(frozen=True)
class _Costs:
    """The meters of one contender as of now: CPU in seconds, bytes written, bytes of its database."""

    server: float
    database: float
    written: int | None
    size: int | None
    everyone: float
    at: float

    @classmethod
    def of(cls, contender: Contender) -> _Costs:
        server = machine.cpu_seconds(contender.pid)
        database, written, size = 0.0, None, None
        if contender.postmaster is not None:
            assert contender.database is not None
            database = machine.family_cpu_seconds(contender.postmaster)
            written, size = asyncio.run(_postgres_bytes(contender.database))
        elif contender.database is not None:
            file = contender.database.removeprefix("sqlite:///")
            size = sum(Path(file + end).stat().st_size for end in ("", "-wal") if Path(file + end).exists())
            written = machine.written_bytes(contender.pid) - contender.log.stat().st_size
        return cls(server, database, written, size, machine.busy_seconds(), time.monotonic())


async def _postgres_bytes(url: str) -> tuple[int, int]:
    """Where the WAL stands, in bytes, and how large the database is."""
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint, pg_database_size(current_database())"
        )
    finally:
        await connection.close()
    assert row is not None
    return row[0], row[1]
