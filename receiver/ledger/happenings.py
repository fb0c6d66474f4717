"""Transitions of all workflows in the order of their commits, so that whoever follows them misses none.

Neither a clock nor a sequence gives that order: a transaction that began earlier may commit later. PostgreSQL knows
better: each row holds the number of its transaction (`tx`), and a snapshot says exactly which of these had committed.
So a place is a snapshot, and what follows it is what this one shows and that one did not; nobody waits for the oldest
transaction, and writing costs nothing. SQLite has one writer at a time: there the order of rows is that of commits.

A row may be told again (after rows were deleted, or a dump was restored elsewhere); none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors
from receiver.ledger.columns import instant_to_text
from receiver.ledger.cursors import BadCursor
from receiver.ledger.query_parts import JsonObject, Row, transition_json

_SNAPSHOT = re.compile(r"(\d{1,19}):(\d{1,19}):((?:\d{1,19}(?:,\d{1,19})*)?)", re.ASCII)
_LONGEST = 20_000  # characters of a snapshot; one transaction under way takes about ten
_GRAIN = timedelta(seconds=1)
_COLUMNS = (
    "t.workflow, t.seq, t.run, t.level, t.key, t.from_status, t.to_status, t.kind, t.evidence, t.upstream_at,"
    " t.recorded_at, w.source, w.id"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody is in what happens.

    PostgreSQL: everything `seen` shows has been told, and of what `until` shows beyond that, what is not after `after`
    (tx, workflow, seq). SQLite: `after` is the last row told (rowid, workflow, seq), which was recorded `at`.
    """

    seen: str = ""
    until: str = ""
    after: tuple[int, int, int] = (0, 0, 0)
    at: str = ""

    def encode(self) -> str:
        """Return it as opaque text."""
        tx, workflow, seq = self.after
        values = {"seen": self.seen, "until": self.until, "tx": tx, "workflow": workflow, "seq": seq, "at": self.at}
        return cursors.encode("h", values)


def place_of(given: str, dialect: str) -> Place:
    """Return the place a text stands for. Raises BadCursor."""
    seen, until, tx, workflow, seq, at = cursors.decode("h", given, str, str, int, int, int, str)
    place = Place(seen, until, (tx, workflow, seq), at)
    if dialect == "postgresql":
        _bounds(seen)
        if until:
            _bounds(until)
    elif seen or until or not _is_instant(at):
        raise BadCursor
    return place


def _is_instant(at: str) -> bool:
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        return False
    return found.tzinfo is not None and 2000 <= found.year < 9999


def _bounds(snapshot: str) -> tuple[int, int]:
    """Return the first transaction a snapshot may not show, and the first it does not. Raises BadCursor."""
    found = _SNAPSHOT.fullmatch(snapshot) if len(snapshot) <= _LONGEST else None
    if found is None:
        raise BadCursor
    low, high = int(found[1]), int(found[2])
    open_then = [int(number) for number in found[3].split(",")] if found[3] else []
    if not 0 < low <= high < 2**63 or open_then != sorted(set(open_then)):
        raise BadCursor
    if any(not low <= number < high for number in open_then):
        raise BadCursor
    return low, high


async def present(connection: AsyncConnection, now: datetime) -> Place:
    """Return the place behind everything this reading transaction sees."""
    if connection.dialect.name == "postgresql":
        return Place(await _snapshot(connection))
    query = "SELECT rowid, workflow, seq, recorded_at FROM transitions ORDER BY rowid DESC LIMIT 1"
    last = (await connection.exec_driver_sql(query)).first()
    if last is None:
        return Place(at=instant_to_text(now))
    return Place(after=(last.rowid, last.workflow, last.seq), at=last.recorded_at)


async def following(
    connection: AsyncConnection,
    place: Place,
    *,
    limit: int = 200,
    source: str | None = None,
    workflow: str | None = None,
) -> tuple[list[tuple[str, JsonObject]], Place, bool]:
    """Return what happened after a place, each with the encoded place behind it; the place to go on from; whether
    there is more to be had at once. `source` and `workflow` (an id) narrow it down."""
    find = _after_snapshot if connection.dialect.name == "postgresql" else _after_row
    return await find(connection, place, limit, {"source": source, "id": workflow})


def _filters(wanted: dict[str, str | None]) -> tuple[str, dict[str, Any]]:
    given = {name: value for name, value in wanted.items() if value is not None}
    return "".join(f" AND w.{name} = :{name}" for name in given), given


async def _snapshot(connection: AsyncConnection) -> str:
    return str((await connection.exec_driver_sql("SELECT pg_current_snapshot()::text")).scalar_one())


async def _after_snapshot(
    connection: AsyncConnection, place: Place, limit: int, wanted: dict[str, str | None]
) -> tuple[list[tuple[str, JsonObject]], Place, bool]:
    present_one = await _snapshot(connection)
    until = place.until or present_one
    if until == place.seen:
        return [], place, False
    low, high = _bounds(place.seen)[0], _bounds(until)[1]
    where, values = _filters(wanted)
    query = (
        f"SELECT {_COLUMNS}, t.tx AS place FROM transitions t JOIN workflows w ON w.pk = t.workflow"
        " WHERE t.tx >= :low AND t.tx < :high"
        " AND pg_visible_in_snapshot(t.tx::text::xid8, CAST(CAST(:until AS text) AS pg_snapshot))"
        " AND NOT pg_visible_in_snapshot(t.tx::text::xid8, CAST(CAST(:seen AS text) AS pg_snapshot))"
        f" AND (t.tx, t.workflow, t.seq) > (:tx, :workflow, :seq){where}"
        " ORDER BY t.tx, t.workflow, t.seq LIMIT :most"
    )
    tx, pk, seq = place.after
    values |= {"low": low, "high": high, "until": until, "seen": place.seen, "most": limit + 1}
    values |= {"tx": tx, "workflow": pk, "seq": seq}
    rows = list((await connection.execute(text(query), values)).mappings())
    told = [(Place(place.seen, until, (row["place"], row["workflow"], row["seq"])), row) for row in rows[:limit]]
    if len(rows) > limit:
        return _encoded(told), told[-1][0], True
    here = Place(until)
    if told:
        told[-1] = (here, told[-1][1])
    return _encoded(told), here, until != present_one


async def _after_row(
    connection: AsyncConnection, place: Place, limit: int, wanted: dict[str, str | None]
) -> tuple[list[tuple[str, JsonObject]], Place, bool]:
    where, values = _filters(wanted)
    query = (
        f"SELECT {_COLUMNS}, t.rowid AS place FROM transitions t JOIN workflows w ON w.pk = t.workflow"
        f" WHERE t.rowid > :row{where} ORDER BY t.rowid LIMIT :most"
    )
    values |= {"row": await _row_before(connection, place), "most": limit + 1}
    rows = list((await connection.execute(text(query), values)).mappings())
    told = [
        (Place(after=(row["place"], row["workflow"], row["seq"]), at=row["recorded_at"]), row) for row in rows[:limit]
    ]
    if len(rows) > limit:
        return _encoded(told), told[-1][0], True
    # Behind everything there is, so that what the filters leave out is not read again.
    here = await present(connection, datetime.fromisoformat(place.at))
    if told:
        told[-1] = (here, told[-1][1])
    return _encoded(told), here, False


async def _row_before(connection: AsyncConnection, place: Place) -> int:
    """Return the row to go on behind. Rows get other numbers when the newest are deleted, or by VACUUM: then it is
    the time that counts."""
    row, workflow, seq = place.after
    same = "SELECT 1 FROM transitions WHERE rowid = ? AND workflow = ? AND seq = ? AND recorded_at = ?"
    if row and (await connection.exec_driver_sql(same, (row, workflow, seq, place.at))).first() is not None:
        return row
    since = instant_to_text(datetime.fromisoformat(place.at) - _GRAIN)
    first = "SELECT min(rowid) FROM transitions WHERE recorded_at >= ?"
    found = (await connection.exec_driver_sql(first, (since,))).scalar_one()
    last = "SELECT coalesce(max(rowid), 0) FROM transitions"
    return int(found) - 1 if found is not None else int((await connection.exec_driver_sql(last)).scalar_one())


def _encoded(told: Sequence[tuple[Place, Row]]) -> list[tuple[str, JsonObject]]:
    return [(place.encode(), _json(row)) for place, row in told]


def _json(row: Row) -> JsonObject:
    return {"source": row["source"], "workflow": row["id"], **transition_json(row)}
