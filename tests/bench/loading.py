"""A ledger that is already large: workflows loaded by COPY on PostgreSQL and by executemany on SQLite.

Each has a step, a job, a transition, one piece of evidence without its body, its dedupe key and a check. One in ten is
still open and can be delivered to as `old_name`; the others ended within the last thirty days.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Table

from receiver.ledger.columns import instant_to_text
from receiver.ledger.tables import checks, delivery_keys, evidence, jobs, steps, transitions, workflows
from tests.bench.mix import TAG

AT_ONCE = 20_000  # workflows whose rows are held in memory
OPEN_EVERY = 10
_SOURCE = "civitai"
_TABLES = (workflows, steps, jobs, evidence, delivery_keys, transitions, checks)

Row = Mapping[str, Any]


def old_name(number: int) -> str:
    """Return the id of a loaded workflow, as long as those of the mix; numbers count from 0."""
    return f"8484131-{number:0{len(TAG) + 9}d}"


def load(database: str, count: int) -> None:
    """Fill an empty, migrated ledger with `count` workflows, and let the database settle."""
    now = datetime.now(UTC)
    if database.startswith("sqlite:///"):
        _into_sqlite(database.removeprefix("sqlite:///"), count, now)
    else:
        asyncio.run(_into_postgres(database, count, now))


async def _into_postgres(url: str, count: int, now: datetime) -> None:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        await connection.execute("SET session_replication_role = replica")  # neither foreign keys nor triggers
        await connection.execute("SET synchronous_commit = off")
        for first in range(0, count, AT_ONCE):
            rows = [_rows(number, now) for number in range(first, min(first + AT_ONCE, count))]
            for place, table in enumerate(_TABLES):
                columns = _columns(table, rows[0][place])
                lines = ("\t".join(_text(one[place][name]) for name in columns) for one in rows)
                data = io.BytesIO(("\n".join(lines) + "\n").encode())
                await connection.copy_to_table(table.name, source=data, columns=columns, format="text")
        await connection.execute(f"ALTER TABLE workflows ALTER COLUMN pk RESTART WITH {count + 1}")
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _text(value: Any) -> str:
    return "\\N" if value is None else str(value)


def _into_sqlite(file: str, count: int, now: datetime) -> None:
    connection = sqlite.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(0, count, AT_ONCE):
            rows = [_rows(number, now) for number in range(first, min(first + AT_ONCE, count))]
            connection.execute("BEGIN")
            for place, table in enumerate(_TABLES):
                columns = _columns(table, rows[0][place])
                named, places = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
                values = [tuple(one[place][name] for name in columns) for one in rows]
                connection.executemany(f"INSERT INTO {table.name} ({named}) VALUES ({places})", values)
            connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _columns(table: Table, row: Row) -> list[str]:
    """The columns to fill. A table may lack some that are given here; one it must have and is not given fails."""
    return [name for name in row if name in table.c]


def _rows(number: int, now: datetime) -> tuple[Row, ...]:
    """One workflow's rows, in the order of `_TABLES`."""
    still_open, pk = number % OPEN_EVERY == 0, number + 1
    # Open ones are young, or every delivery would find them overdue.
    age = timedelta(seconds=number % 300) if still_open else timedelta(seconds=600 + number * 977 % 2_592_000)
    at = instant_to_text(now - age)
    status = "processing" if still_open else "succeeded"
    node = {
        "run": 1, "status": status, "status_seen_at": at, "first_seen_at": at, "facts": "{}", "stamps": "{}",
        "confirmed_at": None if still_open else at,
    }  # fmt: skip
    name, digest = old_name(number), sha256(b"%d" % number).hexdigest()
    job = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
    proof = f"01{digest[:30]}"
    ended = {"finished_at": None if still_open else at, "finished_via": None if still_open else "delivery"}
    return (
        node | ended | {
            "pk": pk, "source": _SOURCE, "id": name, "first_seen_via": "delivery", "news_at": at, "evidence_seq": 1,
            "transition_seq": 1,
        },
        node | {"workflow": pk, "key": "$0"},
        node | {"workflow": pk, "key": job, "step": "$0"},
        {
            "id": proof, "source": _SOURCE, "workflow": pk, "workflow_id": name, "seq": 1, "kind": "delivery",
            "trust": "token", "outcome": "applied", "recorded_at": at, "body_sha256": digest, "code_version": "bench",
        },
        {"source": _SOURCE, "key": digest, "evidence": proof, "first_at": at, "last_at": at, "count": 1},
        {
            "workflow": pk, "seq": 1, "run": 1, "level": "workflow", "key": "", "to_status": status, "kind": "applied",
            "evidence": proof, "recorded_at": at,
        },
        {
            "source": _SOURCE, "id": name, "workflow": pk, "reasons": "{}", "lane": "standing", "hints": 0,
            "due_at": instant_to_text(now + timedelta(days=1)) if still_open else None, "attempts": 0, "looks": 0,
            "misses": 0, "fence": 0,
        },
    )  # fmt: skip
