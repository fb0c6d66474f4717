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
from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import driver
from receiver.ledger.columns import Instant, Json, Labels, instant_to_text, json_to_text

_AT_ONCE = 512  # keys in one statement on SQLite

Row = Sequence[Any]
Mapping = dict[str, Any]


def _pg_type(table: Table, column: str) -> str:
    kind = table.c[column].type
    if isinstance(kind, Instant):
        return "timestamptz"
    if isinstance(kind, (BigInteger, Integer)):
        return "bigint" if isinstance(kind, BigInteger) else "integer"
    if isinstance(kind, Float):
        return "float8"
    if isinstance(kind, Boolean):
        return "boolean"
    return "bytea" if isinstance(kind, LargeBinary) else "text"


def _binary(table: Table, column: str) -> bool:
    return isinstance(table.c[column].type, LargeBinary)


def _encoder(table: Table, column: str, dialect: str) -> Callable[[Any], Any] | None:
    kind = table.c[column].type
    if isinstance(kind, (Json, Labels)):
        return lambda value: value if isinstance(value, str) else json_to_text(value)
    if isinstance(kind, Instant) and dialect == "sqlite":
        return instant_to_text
    return None


def _decoder(table: Table, column: str, dialect: str) -> Callable[[Any], Any] | None:
    kind = table.c[column].type
    if isinstance(kind, (Json, Labels)):
        return lambda value: orjson.loads(value) if isinstance(value, str) else value
    if dialect == "sqlite" and isinstance(kind, Instant):
        return datetime.fromisoformat
    if dialect == "sqlite" and isinstance(kind, Boolean):
        return bool
    return None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _rows(table: Table, columns: Sequence[str], first: int = 1) -> str:
    """Return a subquery of the rows that `encode` made parameters of, the first of which is `$first`."""
    arrays = [name for name in columns if _binary(table, name)]
    told = [name for name in columns if name not in arrays]
    given = [f"jsonb_array_elements(${first}::jsonb) AS j"]
    given += (f'unnest(${n}::bytea[]) AS "{name}"' for n, name in enumerate(arrays, first + 1))
    picked = [f'(j ->> {n})::{_pg_type(table, name)} AS "{name}"' for n, name in enumerate(told)]
    picked += (f'"{name}"' for name in arrays)
    # Without OFFSET the planner takes it apart, and reads a value again at each place that uses it.
    return f"(SELECT {', '.join(picked)} FROM (SELECT {', '.join(given)}) AS given OFFSET 0)"


def _set(table: Table, name: str) -> str:
    if name[0] == "+":
        return f'"{name[1:]}" = {table.name}."{name[1:]}" + excluded."{name[1:]}"'
    if "=" in name:
        column, expression = name.split("=", 1)
        return f'"{column}" = {expression}'
    return f'"{name}" = excluded."{name}"'


@cache
def insert_sql(
    table: Table, columns: tuple[str, ...], dialect: str, keys: tuple[str, ...], update: tuple[str, ...], returning: str
) -> str:
    """Return the statement that inserts rows; on a clash over `keys` it updates `update`, or does nothing.

    `+name` in `update` adds to a column; `name=expression` sets it to one of the table's columns and `excluded`'s.
    """
    if dialect == "postgresql":
        picked = ", ".join(
            f'r."{name}"::jsonb' if isinstance(table.c[name].type, Labels) else f'r."{name}"' for name in columns
        )
        source = f"SELECT {picked} FROM {_rows(table, columns)} AS r"
        if keys and not update:
            # A row that clashes would use up a number all the same, and cost as much as one that does not.
            same = " AND ".join(f't."{name}" = r."{name}"' for name in keys)
            source += f" WHERE NOT EXISTS (SELECT 1 FROM {table.name} t WHERE {same})"
    else:
        source = f"VALUES ({', '.join('?' * len(columns))})"
    sql = f"INSERT INTO {table.name} ({_quoted(columns)}) {source}"
    if keys:
        sql += f" ON CONFLICT ({_quoted(keys)}) DO "
        sql += f"UPDATE SET {', '.join(_set(table, name) for name in update)}" if update else "NOTHING"
    return sql + (f" RETURNING {returning}" if returning else "")


@cache
def _encoders(
    table: Table, columns: tuple[str, ...], dialect: str
) -> tuple[tuple[tuple[int, Callable[[Any], Any]], ...], tuple[int, ...]]:
    """Return the columns that need work, each with what is to be done, and those that are binary, by their places."""
    found = ((place, _encoder(table, name, dialect)) for place, name in enumerate(columns))
    work = tuple((place, encoder) for place, encoder in found if encoder is not None)
    return work, tuple(place for place, name in enumerate(columns) if _binary(table, name))


def encode(table: Table, columns: tuple[str, ...], dialect: str, rows: Iterable[Row]) -> list[Any]:
    """Return rows as the driver takes them: as the parameters of one statement on PostgreSQL, as rows on SQLite.

    Raises TypeError for text that is no Unicode.
    """
    work, binary = _encoders(table, columns, dialect)
    if work:
        rows = [_encoded(row, work) for row in rows]
    if dialect == "sqlite":
        return list(rows)
    if not binary:
        return [orjson.dumps(rows).decode()]
    rows = list(rows)
    kept = [place for place in range(len(columns)) if place not in binary]
    told = orjson.dumps([[row[place] for place in kept] for row in rows]).decode()
    return [told, *([row[place] for row in rows] for place in binary)]


def _encoded(row: Row, work: Iterable[tuple[int, Callable[[Any], Any]]]) -> Row:
    values = list(row)
    for place, encode_one in work:
        if values[place] is not None:
            values[place] = encode_one(values[place])
    return values


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
    sql = insert_sql(table, columns, dialect, keys, update, _quoted(returning))
    return await _execute(connection, sql, encode(table, columns, dialect, rows))


@cache
def update_sql(
    table: Table, key: tuple[str, ...], columns: tuple[str, ...], dialect: str, special: tuple[tuple[str, str], ...]
) -> str:
    named = (*columns, *key)
    if dialect == "sqlite":
        values = {name: f"?{n}" for n, name in enumerate(named, 1)}
        casts: set[str] = set()
    else:
        values = {name: f'r."{name}"' for name in named}
        casts = {name for name in columns if isinstance(table.c[name].type, Labels)}
    made = dict(special)
    sets = ", ".join(
        f'"{name}" = '
        + (made[name].format(**values) if name in made else values[name] + ("::jsonb" if name in casts else ""))
        for name in columns
    )
    where = " AND ".join(f't."{name}" = {values[name]}' for name in key)
    if dialect == "sqlite":
        return f"UPDATE {table.name} AS t SET {sets} WHERE {where}"
    return f"UPDATE {table.name} t SET {sets} FROM {_rows(table, named)} AS r WHERE {where}"


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
        sql = insert_sql(table, columns, dialect, key, (), _quoted((*key, *giving)))
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
    sql = _select_sql(table, key, "postgresql", 0, key, True) + " SKIP LOCKED"
    return {tuple(row) for row in await driver.fetch(connection, sql, encode(table, key, "postgresql", values))}


@cache
def _select_sql(
    table: Table, key: tuple[str, ...], dialect: str, count: int, columns: tuple[str, ...], lock: bool
) -> str:
    names = [f't."{name}"' for name in columns]
    if dialect == "postgresql":
        joined = " AND ".join(f't."{name}" = k."{name}"' for name in key)
        order = ", ".join(f't."{name}"' for name in key)
        sql = f"SELECT {', '.join(names)} FROM {table.name} t JOIN {_rows(table, key)} AS k ON {joined}"
        return sql + (f" ORDER BY {order} FOR UPDATE OF t" if lock else "")
    places = ", ".join(f"({', '.join('?' * len(key))})" for _ in range(count))
    listed = ", ".join(f't."{name}"' for name in key)
    return f"SELECT {', '.join(names)} FROM {table.name} t WHERE ({listed}) IN (VALUES {places})"


async def by_keys(
    connection: AsyncConnection,
    table: Table,
    key: tuple[str, ...],
    values: Sequence[tuple[Any, ...]],
    *,
    lock: bool = False,
    raw: frozenset[str] = frozenset(),
) -> list[Mapping]:
    """Return the rows whose `key` columns equal one of `values`, as dictionaries.

    `lock` takes their row locks in the order of the key. JSON columns named in `raw` stay text.
    """
    columns = tuple(column.name for column in table.columns)
    rows = await _select(connection, table, key, values, columns, lock=lock)
    return decode(table, connection.dialect.name, rows, raw)


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
        sql = _select_sql(table, key, dialect, 0, columns, lock)
        return await driver.fetch(connection, sql, encode(table, key, dialect, values))
    rows: list[Row] = []
    for start in range(0, len(values), _AT_ONCE):
        part = list(values[start : start + _AT_ONCE])
        # A power of two of places, the last value repeated: few texts, so that SQLite need not parse each anew.
        part += [part[-1]] * ((1 << (len(part) - 1).bit_length()) - len(part))
        sql = _select_sql(table, key, dialect, len(part), columns, False)
        rows.extend(await driver.fetch(connection, sql, [value for one in part for value in one]))
    return rows


@cache
def _decoders(table: Table, dialect: str, raw: frozenset[str]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    found = ((column.name, _decoder(table, column.name, dialect)) for column in table.columns)
    return tuple((name, decoder) for name, decoder in found if decoder is not None and name not in raw)


def decode(table: Table, dialect: str, rows: Iterable[Row], raw: frozenset[str] = frozenset()) -> list[Mapping]:
    """Turn raw rows that hold all of a table's columns, in order, into dictionaries of Python values."""
    names = [column.name for column in table.columns]
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
