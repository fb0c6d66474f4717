"""Many rows in one statement, for the hot path: set-based SQL made from the tables, sent straight to the driver.

PostgreSQL takes all rows as one JSON document (an array per row) and one array per binary column; SQLite takes the
rows one by one inside the driver, which costs no round trip. Everywhere else in the project SQL is SQLAlchemy Core.

JSON because of what it costs to say: the driver encodes a value of an array in 0.1 to 0.5 µs, orjson in 0.03, and
PostgreSQL reads either in about the same time (30 jobs of 17 columns: 168 and 32 µs here, 41 and 49 µs there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Boolean, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import driver
from receiver.ledger.aside import aside
from receiver.ledger.columns import Instant, Json, Labels, instant_to_text, json_to_text
from receiver.ledger.statements import binary, insert_sql, quoted, select_sql, update_sql

_AT_ONCE = 512  # keys in one statement on SQLite

Row = Sequence[Any]
Mapping = dict[str, Any]


def _decoder(table: Table, column: str, dialect: str) -> Callable[[Any], Any] | None:
    kind = table.c[column].type
    if isinstance(kind, (Json, Labels)):
        return lambda value: orjson.loads(value) if isinstance(value, str) else value
    if dialect == "sqlite" and isinstance(kind, Instant):
        return datetime.fromisoformat
    if dialect == "sqlite" and isinstance(kind, Boolean):
        return bool
    return None


@cache
def _places(table: Table, columns: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return which of the columns are JSON, which are instants and which are binary, by their places."""
    kinds = [table.c[name].type for name in columns]
    return (
        tuple(place for place, kind in enumerate(kinds) if isinstance(kind, (Json, Labels))),
        tuple(place for place, kind in enumerate(kinds) if isinstance(kind, Instant)),
        tuple(place for place, name in enumerate(columns) if binary(table, name)),
    )


def encode(table: Table, columns: tuple[str, ...], dialect: str, rows: Sequence[Row]) -> list[Any]:
    """Return rows as the driver takes them: as the parameters of one statement on PostgreSQL, as rows on SQLite.

    Raises TypeError for text that is no Unicode.
    """
    documents, instants, bodies = _places(table, columns)
    if documents or (instants and dialect == "sqlite"):
        rows = _as_text(rows, documents, instants if dialect == "sqlite" else ())
    if dialect == "sqlite":
        return list(rows)
    if not bodies:
        return [orjson.dumps(rows).decode()]
    kept = [place for place in range(len(columns)) if place not in bodies]
    told = orjson.dumps([[row[place] for place in kept] for row in rows]).decode()
    return [told, *([row[place] for row in rows] for place in bodies)]


def _as_text(rows: Sequence[Row], documents: Sequence[int], instants: Sequence[int]) -> list[Row]:
    """Return rows with documents and instants as text; what rows have in common is only worked out once."""
    known: dict[int, str] = {}  # by identity, for as long as `rows` holds them
    out: list[Row] = []
    for row in rows:
        values = list(row)
        for place in documents:
            if values[place] is not None and not isinstance(values[place], str):
                values[place] = json_to_text(values[place])
        for place in instants:
            value = values[place]
            if value is not None:
                values[place] = known.get(id(value)) or known.setdefault(id(value), instant_to_text(value))
        out.append(values)
    return out


async def _execute(connection: AsyncConnection, sql: str, given: list[Any]) -> list[Row]:
    """Send one statement with many rows, as `encode` made them; returns what it returns, on PostgreSQL."""
    if connection.dialect.name == "postgresql":
        return await driver.fetch(connection, sql, given)
    await driver.run_many(connection, sql, given)
    return []


async def insert(
    connection: AsyncConnection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[Row],
    *,
    keys: tuple[str, ...] = (),
    update: tuple[str, ...] = (),
    returning: tuple[str, ...] = (),
) -> list[Row]:
    """Insert rows (values in the order of `columns`). A key may stand only once among them. Sort before calling.

    Returns, on PostgreSQL, the columns of `returning` of the rows inserted or updated.
    """
    if not rows:
        return []
    dialect = connection.dialect.name
    sql = insert_sql(table, columns, dialect, keys, update, quoted(returning))
    return await _execute(connection, sql, encode(table, columns, dialect, rows))


async def update(
    connection: AsyncConnection,
    table: Table,
    key: tuple[str, ...],
    columns: tuple[str, ...],
    rows: Sequence[Row],
    *,
    special: tuple[tuple[str, str], ...] = (),
) -> None:
    """Update rows by key: each row has values in the order of `columns`, then of `key`.

    `special` gives columns an SQL expression instead of the plain value: `{name}` in it stands for the given value of a
    column, `t.name` for what the row holds now.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    sql = update_sql(table, key, columns, dialect, special)
    await _execute(connection, sql, encode(table, (*columns, *key), dialect, rows))


async def insert_new(
    connection: AsyncConnection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[Row],
    key: tuple[str, ...],
    giving: tuple[str, ...] = (),
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Insert the rows whose key is not there yet; return the keys inserted, each with what `giving` names of its row.

    Sort before calling.
    """
    if not rows:
        return {}
    dialect, told = connection.dialect.name, len(key)
    if dialect == "postgresql":
        sql = insert_sql(table, columns, dialect, key, (), quoted((*key, *giving)))
        made = await _execute(connection, sql, encode(table, columns, dialect, rows))
        return {tuple(row[:told]): tuple(row[told:]) for row in made}
    # The write lock on the whole file is held: what is not there now stays away until this transaction ends.
    places = [columns.index(name) for name in key]
    wanted = [tuple(row[place] for place in places) for row in rows]
    there = await existing(connection, table, key, wanted)
    new = [row for row, name in zip(rows, wanted, strict=True) if name not in there]
    await insert(connection, table, columns, new)
    names = [name for name in wanted if name not in there]
    if not giving:
        return dict.fromkeys(names, ())
    made = await _select(connection, table, key, names, (*key, *giving), lock=False)
    return {tuple(row[:told]): tuple(row[told:]) for row in made}


async def existing(
    connection: AsyncConnection, table: Table, key: tuple[str, ...], values: Sequence[tuple[Any, ...]]
) -> set[tuple[Any, ...]]:
    """Return those of `values` that some row has in its `key` columns."""
    return {tuple(row) for row in await _select(connection, table, key, values, key, lock=False)}


async def lock_free(
    connection: AsyncConnection, table: Table, key: tuple[str, ...], values: Sequence[tuple[Any, ...]]
) -> set[tuple[Any, ...]]:
    """Lock the rows of these keys that nobody else holds, on PostgreSQL, and return their keys; never waits."""
    if not values:
        return set()
    sql = select_sql(table, key, "postgresql", 0, key, True) + " SKIP LOCKED"
    return {tuple(row) for row in await driver.fetch(connection, sql, encode(table, key, "postgresql", values))}


async def by_keys(
    connection: AsyncConnection,
    table: Table,
    key: tuple[str, ...],
    values: Sequence[tuple[Any, ...]],
    *,
    lock: bool = False,
    raw: frozenset[str] = frozenset(),
    system: tuple[str, ...] = (),
) -> list[Mapping]:
    """Return the rows whose `key` columns equal one of `values`, as dictionaries.

    `lock` takes their row locks in the order of the key. JSON columns named in `raw` stay text. `system` are columns
    that PostgreSQL has of every row.
    """
    columns = (*(column.name for column in table.columns), *system)
    rows = await _select(connection, table, key, values, columns, lock=lock)
    return await aside(len(rows), decode, table, connection.dialect.name, rows, raw, system)


async def columns_by_keys(
    connection: AsyncConnection,
    table: Table,
    key: tuple[str, ...],
    values: Sequence[tuple[Any, ...]],
    columns: tuple[str, ...],
    *,
    lock: bool = False,
) -> list[Row]:
    """Return some columns, texts and numbers, of the rows whose `key` is one of `values`; `lock` as in `by_keys`."""
    return await _select(connection, table, key, values, columns, lock=lock)


async def _select(
    connection: AsyncConnection,
    table: Table,
    key: tuple[str, ...],
    values: Sequence[tuple[Any, ...]],
    columns: tuple[str, ...],
    *,
    lock: bool,
) -> list[Row]:
    if not values:
        return []
    dialect = connection.dialect.name
    if dialect == "postgresql":
        sql = select_sql(table, key, dialect, 0, columns, lock)
        return await driver.fetch(connection, sql, encode(table, key, dialect, values))
    rows: list[Row] = []
    for start in range(0, len(values), _AT_ONCE):
        part = list(values[start : start + _AT_ONCE])
        # A power of two of places, the last value repeated: few texts, so that SQLite need not parse each anew.
        part += [part[-1]] * ((1 << (len(part) - 1).bit_length()) - len(part))
        sql = select_sql(table, key, dialect, len(part), columns, False)
        rows.extend(await driver.fetch(connection, sql, [value for one in part for value in one]))
    return rows


@cache
def _decoders(table: Table, dialect: str, raw: frozenset[str]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    found = ((column.name, _decoder(table, column.name, dialect)) for column in table.columns)
    return tuple((name, decoder) for name, decoder in found if decoder is not None and name not in raw)


def decode(
    table: Table, dialect: str, rows: Iterable[Row], raw: frozenset[str] = frozenset(), more: tuple[str, ...] = ()
) -> list[Mapping]:
    """Turn raw rows that hold all of a table's columns, in order, and `more`, into dictionaries of Python values."""
    names = [*(column.name for column in table.columns), *more]
    special = _decoders(table, dialect, raw)
    out = []
    for row in rows:
        one = dict(zip(names, row, strict=True))
        for name, decoder in special:
            value = one[name]
            if value is not None:
                one[name] = decoder(value)
        out.append(one)
    return out
