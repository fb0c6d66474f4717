"""One round: load on one contender, and what that cost it. Rounds alternate, so that a noisy moment hits all alike."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import asyncpg
import orjson

from tests.bench import machine, mix, pgbench
from tests.bench.contenders import Contender, Kind
from tests.bench.load import Job, Report
from tests.bench.loaded import OPEN_EVERY, old_name
from tests.bench.memory import Watch
from tests.bench.processes import TARGET, BenchFailed

SEED = 1
PREPARED = 12_000  # deliveries in a mix, which then goes round and round
LONG = 48_000  # deliveries about old workflows: more than a round sends, or they would all be copies the next time
STALE = 300.0  # seconds after which a mix is made anew, so that its events do not come from the past


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    seconds: float
    warm: float
    rounds: int
    connections: int = 64


@dataclass(frozen=True)
class Round:
    """One round of one contender. CPU is µs per delivery; shares are of one core. Bytes are per delivery: what went
    into the database's files and its WAL, that WAL alone, and what the files grew by; None where there is no such
    thing. `others_share` is what the rest of the machine used meanwhile."""

    load: Report
    server_cpu: float
    server_share: float
    database_cpu: float
    database_share: float
    load_share: float
    others_share: float
    written: float | None
    wal: float | None
    grown: float | None

    @property
    def cpu(self) -> float:
        """CPU per delivery of server and database together, µs."""
        return self.server_cpu + self.database_cpu


@dataclass
class Series:
    """All rounds of one contender, and the memory of its server: (seconds of load so far, MiB), once a second."""

    contender: Contender
    rounds: list[Round] = field(default_factory=list)
    acknowledged: list[Path] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    sent: int = 0
    loaded: float = 0.0

    @property
    def name(self) -> str:
        return self.contender.name

    def memory_after(self, seconds: float) -> float | None:
        """Return the memory after so many seconds of load, None when there was not so much."""
        return next((size for at, size in self.memory if at >= seconds), None)


class Traffic:
    """Mixes in files, by what their contenders want, made anew when they are old."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[float, float] = {}
        self._draws = 0

    def file(self, kind: Kind) -> Path:
        """Return the file with a mix that was made not long ago."""
        if kind.old:
            return self._about_old(kind.old)
        file = self.folder / f"traffic-{kind.copies:g}"
        if time.monotonic() - self._made.get(kind.copies, -STALE) >= STALE:
            file.write_bytes(b"\n".join(mix.bodies(SEED, PREPARED, datetime.now(UTC), kind.copies)))
            self._made[kind.copies] = time.monotonic()
        return file

    def _about_old(self, count: int) -> Path:
        """Other workflows each time, drawn from those that were loaded and are still open."""
        self._draws += 1
        random, names = Random(self._draws), dict[bytes, bytes]()
        lines = []
        for body in mix.bodies(SEED + self._draws, LONG, datetime.now(UTC)):
            name = orjson.loads(body)["workflowId"].encode()
            if name not in names:
                names[name] = old_name(random.randrange(0, count, OPEN_EVERY)).encode()
            lines.append(body.replace(name, names[name]))
        file = self.folder / "traffic-old"
        file.write_bytes(b"\n".join(lines))
        return file


def measure(series: Mapping[str, Series], plan: Plan, folder: Path) -> None:
    """Run all rounds, every contender once in each, in another order each time."""
    traffic, everyone = Traffic(folder), list(series.values())
    for number in range(plan.rounds):
        turn = number % len(everyone)
        for mine in (*everyone[turn:], *everyone[:turn]):
            play(mine, plan, traffic)


def play(mine: Series, plan: Plan, traffic: Traffic) -> Round:
    """Run one more round of one contender and note it in its series."""
    one = mine.contender
    acknowledged = one.log.with_name(f"{one.name}-{len(mine.rounds)}.acknowledged")
    if one.kind.command is None:
        assert one.server is not None
        server = one.server
        # Room between the keys of two rounds: each of its connections counts by itself.
        found = _measured(one, lambda: pgbench.run(server, one.database, traffic.folder, plan.seconds, mine.sent))
    else:
        job = Job(
            port=one.port,
            target=TARGET,
            seconds=plan.seconds,
            warm=plan.warm,
            traffic=str(traffic.file(one.kind)),
            first=mine.sent,
            acknowledged=str(acknowledged),
            connections=plan.connections,
        )
        with Watch(one.pid, mine.loaded, mine.memory):
            found = _measured(one, lambda: _load(job, one.name))
        mine.acknowledged.append(acknowledged)
    mine.rounds.append(found)
    mine.sent += found.load.answers
    mine.loaded += found.load.wall
    return found


def _load(job: Job, name: str) -> Report:
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.load", orjson.dumps(asdict(job)).decode()],
        capture_output=True,
        check=False,
    )
    if told.returncode:
        raise BenchFailed(f"the load on {name} failed: {told.stderr.decode(errors='replace')[-800:]}")
    return Report(**orjson.loads(told.stdout))


def _measured(contender: Contender, run: Callable[[], Report]) -> Round:
    """Read the meters, put the load on, read the meters again."""
    children = _children_cpu()
    before = _Costs.of(contender)
    load = run()
    after = _Costs.of(contender)
    loading = _children_cpu() - children
    server, database = after.server - before.server, after.database - before.database
    others = (after.everyone - before.everyone) - (server + database + loading)

    def per_delivery(name: str) -> float | None:
        then, now = getattr(before, name), getattr(after, name)
        return None if then is None or now is None else (now - then) / load.answers

    written = per_delivery("written")
    if written is not None and contender.server is None:  # SQLite: the same process has answered the clients
        written -= load.received / load.answers
    return Round(
        load,
        server_cpu=server / load.answers * 1e6,
        server_share=server / load.wall,
        database_cpu=database / load.answers * 1e6,
        database_share=database / load.wall,
        load_share=load.cpu / load.wall,
        others_share=max(others / (after.at - before.at), 0.0),
        written=written,
        wal=per_delivery("wal"),
        grown=per_delivery("size"),
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
    wal: int | None
    size: int | None
    everyone: float
    at: float

    @classmethod
    def of(cls, contender: Contender) -> _Costs:
        server = machine.family_cpu_seconds(contender.pid) if contender.pid else 0.0
        database, written, wal, size = 0.0, None, None, None
        if contender.server is not None:
            database = machine.family_cpu_seconds(contender.server.pid)
            written = machine.written_bytes(contender.server.pid)
            wal, size = asyncio.run(_postgres_bytes(contender.database))
        elif contender.database:
            file = contender.database.removeprefix("sqlite:///")
            size = sum(Path(file + end).stat().st_size for end in ("", "-wal") if Path(file + end).exists())
            written = machine.written_bytes(contender.pid) - contender.log.stat().st_size
        return cls(server, database, written, wal, size, machine.busy_seconds(), time.monotonic())


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
