"""A ledger that is already large, filled by COPY on PostgreSQL and by executemany on SQLite.

On PostgreSQL several processes each make and copy a part, with the secondary indexes away and nothing synced; then the
indexes are built anew, everything is written out, and the server is as it was: what is measured afterwards meets a
ledger like any other. `loaded` says what is in it.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from multiprocessing import get_context

import asyncpg
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import text

from receiver.ledger import tallies
from receiver.ledger.database import Database
from receiver.ledger.derived import figures
from tests.bench import loaded

AT_ONCE = 20_000  # workflows whose rows are held in memory
STREAMS = 3  # COPYs at a time: more than cores, so that one makes rows while another's are taken
_PART = 250_000  # workflows copied in one transaction
# Settings of the whole server while it loads; RESET afterwards.
_HASTY = {"fsync": "off", "max_wal_size": "'4GB'", "checkpoint_timeout": "'1h'", "autovacuum": "off"}
# Keys that rows come in the order of stay, and with them what refers to workflows; every other index is built at the
# end, which takes a fifth of what keeping it takes.
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) AS definition, t.relname AS table, c.relname AS index, k.conname AS key,
  pg_get_constraintdef(k.oid) AS key_definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
WHERE t.relname = ANY($1) AND t.relnamespace = current_schema()::regnamespace
  AND NOT (i.indisprimary AND (t.relname = 'workflows' OR EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = i.indkey[0] AND a.attname = 'workflow')))
ORDER BY t.relname, c.relname
"""

_BY_HOUR = "SELECT source, substr(CAST(first_seen_at AS TEXT), 1, 13), status, count(*) FROM workflows GROUP BY 1, 2, 3"


def load(database: str, count: int) -> None:
    """Fill an empty, migrated ledger with `count` workflows, and let the database settle."""
    now = datetime.now(UTC)
    if database.startswith("sqlite:///"):
        _into_sqlite(database.removeprefix("sqlite:///"), count, now)
    else:
        asyncio.run(_into_postgres(database, count, now))
    asyncio.run(_count(database))
    if not database.startswith("sqlite:///"):
        asyncio.run(_settle(database))


async def _into_postgres(url: str, count: int, now: datetime) -> None:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        async with _hasty(connection) if count > _PART else nullcontext():
            dropped = await connection.fetch(_INDEXES, list(loaded.COLUMNS))
            for one in dropped:
                gone = f"ALTER TABLE {one['table']} DROP CONSTRAINT {one['key']}" if one["key"] else None
                await connection.execute(gone or f"DROP INDEX {one['index']}")
            parts = [(url, first, min(first + _PART, count), now) for first in range(0, count, _PART)]
            if len(parts) == 1:
                await _copy(*parts[0])
            else:
                with ProcessPoolExecutor(min(STREAMS, len(parts)), get_context("spawn")) as streams:
                    for _ in streams.map(_copy_in_process, parts):
                        pass
            await _in_turn(url, [_index(one) for one in dropped])
            await connection.execute(f"ALTER TABLE workflows ALTER COLUMN pk RESTART WITH {count + 1}")
    finally:
        await connection.close()


def _index(one: asyncpg.Record) -> str:
    if one["key"]:
        return f"ALTER TABLE {one['table']} ADD CONSTRAINT {one['key']} {one['key_definition']}"
    return str(one["definition"])


@asynccontextmanager
async def _hasty(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Let the server lose everything if it falls, while inside. Afterwards all it has written is on the disk."""
    try:
        for name, value in _HASTY.items():
            await connection.execute(f"ALTER SYSTEM SET {name} = {value}")
        await connection.execute("SELECT pg_reload_conf()")
        yield
    finally:
        for name in _HASTY:
            await connection.execute(f"ALTER SYSTEM RESET {name}")
        await connection.execute("SELECT pg_reload_conf()")


def _copy_in_process(part: tuple[str, int, int, datetime]) -> None:
    asyncio.run(_copy(*part))


async def _copy(url: str, first: int, last: int, now: datetime) -> None:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        await connection.execute("SET session_replication_role = replica")  # neither foreign keys nor triggers
        await connection.execute("SET synchronous_commit = off")
        async with connection.transaction():
            for chunk in loaded.lines(now, first, last, AT_ONCE):
                for table, rows in chunk.items():
                    data = io.BytesIO(("\n".join(rows) + "\n").encode()) if rows else io.BytesIO()
                    columns = loaded.COLUMNS[table]
                    await connection.copy_to_table(table, source=data, columns=columns, format="text")
    finally:
        await connection.close()


async def _in_turn(url: str, statements: Sequence[str]) -> None:
    """Run statements over as many connections as there are cores."""
    left = iter(statements)

    async def work() -> None:
        connection = await asyncpg.connect(url, timeout=60)
        try:
            await connection.execute("SET maintenance_work_mem = '1GB'")
            await connection.execute("SET max_parallel_maintenance_workers = 0")
            for statement in left:
                await connection.execute(statement)
        finally:
            await connection.close()

    await asyncio.gather(*(work() for _ in range(os.cpu_count() or 1)))


async def _settle(url: str) -> None:
    """What a server at rest has done: dead rows away, pages known to be visible to all, figures for the planner."""
    await _in_turn(url, [f"VACUUM ANALYZE {table}" for table in loaded.COLUMNS] + ["VACUUM ANALYZE figures"])
    connection = await asyncpg.connect(url, timeout=60)
    try:
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    os.sync()  # what was written while nothing was synced


def _into_sqlite(file: str, count: int, now: datetime) -> None:
    connection = sqlite.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        marks = ", ".join("?" * len(loaded.COLUMNS))
        query = (
            f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({marks})"
        )
        dropped = connection.execute(query, list(loaded.COLUMNS)).fetchall()
        for name, _ in dropped:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("BEGIN")
        for chunk in loaded.lines(now, 0, count, AT_ONCE):
            for table, rows in chunk.items():
                named = ", ".join(f'"{name}"' for name in loaded.COLUMNS[table])
                places = ", ".join("?" * len(loaded.COLUMNS[table]))
                connection.executemany(f"INSERT INTO {table} ({named}) VALUES ({places})", _values(rows))
        connection.execute("COMMIT")
        for _, sql in dropped:
            connection.execute(sql)
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _values(rows: Iterable[str]) -> Iterable[list[str | bytes | None]]:
    """What COPY makes of lines. SQLite's columns turn text into numbers by themselves; bytes look like `\\\\x…`."""
    for row in rows:
        yield [
            None if one == loaded.NULL else bytes.fromhex(one[3:]) if one.startswith("\\\\x") else one
            for one in row.split("\t")
        ]


async def _count(url: str) -> None:
    """Bring the figures up to date: totals as counted, and the series by the hour in which things began."""
    database = await Database.open(url)
    try:
        async with database.write() as connection:
            hours: dict[tuple[str, str], Counter[str]] = {}
            for source, hour, status, count in await connection.execute(text(_BY_HOUR)):
                here = hours.setdefault((source, hour), Counter())
                here.update({"created": count, "deliveries.applied": count})
                if status not in loaded.OPEN_STATES:
                    here.update({f"ended.{status}": count, "learned.delivery": count, "lag.0": count})
            rows = [
                {"source": source, "span": "hour", "at": datetime.fromisoformat(f"{hour}:00:00+00:00"), "counts": told}
                for (source, hour), told in sorted(hours.items())
            ]
            await connection.execute(figures.insert(), rows)
            await tallies.recount(connection)
    finally:
        await database.close()
