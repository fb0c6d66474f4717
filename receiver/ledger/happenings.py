"""Transitions of all workflows in the order of their commits, so that whoever follows them misses none.

Neither a clock nor a sequence gives that order: a transaction that began earlier may commit later. PostgreSQL knows
better: each row holds the number of its transaction (`tx`), and a snapshot says exactly which of these had committed.
So a place is a snapshot, and what follows it is what this one shows and that one did not; nobody waits for the oldest
transaction, and writing costs nothing. SQLite has one writer at a time: there the order of rows is that of commits.

Numbers of transactions mean something in one cluster only, and there as long as its history is one. A place says which
that is. After a failover to a replica that lacked the newest transactions, or a restore to a point in time, the numbers
go on from earlier ones: then what was recorded since the place is told again. In another cluster, where a dump was
restored, they begin anew: a place from before is refused, and rows that came with the dump bear numbers that are yet to
come there, so what was recorded long before a place is not told as new when its number is reached.

A row may be told again (also after rows were deleted); none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
_REPEATED = timedelta(minutes=1)  # before a place on another line of history, what is told again
_STEP = 1000  # transactions to go back at first, to find what was recorded before that
# No transaction lasts as long, so what was recorded this long before a place cannot have been committed after it.
_LONG_BEFORE = timedelta(days=1)
# Which cluster this is, and on which line of its history.
_PRESENT = (
    "SELECT pg_current_snapshot()::text AS seen, (SELECT system_identifier FROM pg_control_system()) AS cluster,"
    " (SELECT timeline_id FROM pg_control_checkpoint()) AS line"
)
_COLUMNS = (
    "t.workflow, t.seq, t.run, t.level, t.key, t.from_status, t.to_status, t.kind, t.evidence, t.upstream_at,"
    " t.recorded_at, w.source, w.id"
)


class ElsewhereCursor(BadCursor):
    """A place in a database that is not this one."""

    def __init__(self) -> None:
        ValueError.__init__(
            self,
            "the place is in another database than this ledger's (was it restored from a dump?); ask for the lists"
            " again, and follow from now on",
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody is in what happens.

    PostgreSQL: everything `seen` shows has been told, and of what `until` shows beyond that, what is not after `after`
    (tx, workflow, seq). `seen` is of the time `at` or later, in the history `home` (cluster and line). SQLite: `after`
    is the last row told (rowid, workflow, seq), which was recorded `at`.
    """

    seen: str = ""
    until: str = ""
    after: tuple[int, int, int] = (0, 0, 0)
    at: str = ""
    home: str = ""

    def encode(self) -> str:
        """Return it as opaque text."""
        tx, workflow, seq = self.after
        numbers = {"tx": tx, "workflow": workflow, "seq": seq}
        return cursors.encode(
            "h", {"seen": self.seen, "until": self.until, **numbers, "at": self.at, "home": self.home}
        )


def place_of(given: str, dialect: str) -> Place:
    """Return the place a text stands for. Raises BadCursor."""
    seen, until, tx, workflow, seq, at, home = cursors.decode("h", given, str, str, int, int, int, str, str)
    place = Place(seen, until, (tx, workflow, seq), at, home)
    if not _is_instant(at):
        raise BadCursor
    if dialect == "postgresql":
        _bounds(seen)
        if until:
            _bounds(until)
    elif seen or until or home:
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
        row = (await connection.exec_driver_sql(_PRESENT)).one()
        return Place(row.seen, at=instant_to_text(now), home=f"{row.cluster}.{row.line}")
    query = "SELECT rowid, workflow, seq, recorded_at FROM transitions ORDER BY rowid DESC LIMIT 1"
    last = (await connection.exec_driver_sql(query)).first()
    if last is None:
        return Place(at=instant_to_text(now))
    return Place(after=(last.rowid, last.workflow, last.seq), at=last.recorded_at)


async def following(
    connection: AsyncConnection,
    place: Place,
    now: datetime,
    *,
    limit: int = 200,
    source: str | None = None,
    workflow: str | None = None,
) -> tuple[list[tuple[str, JsonObject]], Place, bool]:
    """Return what happened after a place, each with the encoded place behind it; the place to go on from; whether
    there is more to be had at once. `source` and `workflow` (an id) narrow it down. Raises ElsewhereCursor."""
    wanted = {"source": source, "id": workflow}
    if connection.dialect.name != "postgresql":
        return await _after_row(connection, place, limit, wanted)
    return await _after_snapshot(connection, place, await present(connection, now), limit, wanted)


def _filters(wanted: dict[str, str | None]) -> tuple[str, dict[str, Any]]:
    given = {name: value for name, value in wanted.items() if value is not None}
    return "".join(f" AND w.{name} = :{name}" for name in given), given


async def _after_snapshot(
    connection: AsyncConnection, place: Place, here: Place, limit: int, wanted: dict[str, str | None]
) -> tuple[list[tuple[str, JsonObject]], Place, bool]:
    if place.home != here.home or _bounds(place.seen)[1] > _bounds(here.seen)[1]:
        place = await _found_again(connection, place, here)
    until = place.until or here.seen
    if until == place.seen:
        return [], here, False
    low, high = _bounds(place.seen)[0], _bounds(until)[1]
    where, values = _filters(wanted)
    query = (
        f"SELECT {_COLUMNS}, t.tx AS place FROM transitions t JOIN workflows w ON w.pk = t.workflow"
        " WHERE t.tx >= :low AND t.tx < :high"
        " AND pg_visible_in_snapshot(t.tx::text::xid8, CAST(CAST(:until AS text) AS pg_snapshot))"
        " AND NOT pg_visible_in_snapshot(t.tx::text::xid8, CAST(CAST(:seen AS text) AS pg_snapshot))"
        f" AND (t.tx, t.workflow, t.seq) > (:tx, :workflow, :seq) AND t.recorded_at >= :since{where}"
        " ORDER BY t.tx, t.workflow, t.seq LIMIT :most"
    )
    tx, pk, seq = place.after
    values |= {"low": low, "high": high, "until": until, "seen": place.seen, "most": limit + 1}
    values |= {"tx": tx, "workflow": pk, "seq": seq, "since": datetime.fromisoformat(place.at) - _LONG_BEFORE}
    rows = list((await connection.execute(text(query), values)).mappings())
    told = [
        (replace(place, until=until, after=(row["place"], row["workflow"], row["seq"])), row) for row in rows[:limit]
    ]
    if len(rows) > limit:
        return _encoded(told), told[-1][0], True
    behind = here if until == here.seen else replace(place, seen=until, until="", after=(0, 0, 0))
    if told:
        told[-1] = (behind, told[-1][1])
    return _encoded(told), behind, behind is not here


async def _found_again(connection: AsyncConnection, place: Place, here: Place) -> Place:
    """Return where to go on from a place whose transactions this line of history may not have, or not all of them:
    before everything that was recorded since. Raises ElsewhereCursor for another cluster's."""
    if place.home.partition(".")[0] != here.home.partition(".")[0]:
        raise ElsewhereCursor
    since = datetime.fromisoformat(place.at) - _REPEATED
    high, back = _bounds(here.seen)[1], _STEP
    before = text("SELECT recorded_at FROM transitions WHERE tx < :number ORDER BY tx DESC LIMIT 1")
    while back < high:
        recorded = (await connection.execute(before, {"number": high - back})).scalar()
        if recorded is None or recorded < since:
            break
        back *= 8
    low = max(1, min(high - back, _bounds(place.seen)[0]))
    return Place(f"{low}:{low}:", at=place.at, home=here.home)


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
