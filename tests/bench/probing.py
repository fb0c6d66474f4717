"""What a database takes for one bare `INSERT; COMMIT`: the least that a durable answer can wait for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import asyncpg
from pysqlite3 import dbapi2 as sqlite

from tests.bench.load import percentile

BODY = b"x" * 700  # about the mix's average
PAUSE = 0.001  # seconds between two on average: as they come at 1000/s
_TABLE = "CREATE TABLE IF NOT EXISTS probe (body {type} NOT NULL)"


def insert_and_commit(database: str, seconds: float) -> float:
    """Return the median round trip in ms, over so many seconds, on PostgreSQL by its URL or on a fresh SQLite file."""
    if database.startswith("sqlite:///"):
        return _on_sqlite(Path(database.removeprefix("sqlite:///")), seconds)
    return asyncio.run(_on_postgres(database, seconds))


async def _on_postgres(url: str, seconds: float) -> float:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLE.format(type="bytea"))
        insert = await connection.prepare("INSERT INTO probe VALUES ($1)")
        took, random, ends = [], Random(1), time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends:
            await insert.fetch(BODY)
            took.append(time.perf_counter() - began)
            await asyncio.sleep(random.expovariate(1 / PAUSE))
    finally:
        await connection.close()
    return percentile(sorted(took), 0.5) * 1000


def _on_sqlite(file: Path, seconds: float) -> float:
    connection = sqlite.connect(str(file), isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_TABLE.format(type="blob"))
        took, random, ends = [], Random(1), time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends:
            connection.execute("INSERT INTO probe VALUES (?)", (BODY,))
            took.append(time.perf_counter() - began)
            time.sleep(random.expovariate(1 / PAUSE))
    finally:
        connection.close()
    return percentile(sorted(took), 0.5) * 1000
