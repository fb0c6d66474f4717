"""The texts of statements over many rows, made from the tables: what `bulk` and `together` send."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, Table

from receiver.ledger.columns import Instant, Labels

_PLACE = re.compile(r"\$(\d+)")
Told = tuple[str, ...]  # columns that a part of a statement tells of the rows it wrote


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


def binary(table: Table, column: str) -> bool:
    """Whether a column holds bytes."""
    return isinstance(table.c[column].type, LargeBinary)


def quoted(names: Iterable[str]) -> str:
    """Return column names as a list in SQL."""
    return ", ".join(f'"{name}"' for name in names)


def _rows(table: Table, columns: Sequence[str]) -> str:
    """Return a subquery of the rows that `encode` made parameters of."""
    arrays = [name for name in columns if binary(table, name)]
    told = [name for name in columns if name not in arrays]
    given = ["jsonb_array_elements($1::jsonb) AS j"]
    given += (f'unnest(${n}::bytea[]) AS "{name}"' for n, name in enumerate(arrays, 2))
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
    table: Table,
    columns: tuple[str, ...],
    dialect: str,
    keys: tuple[str, ...],
    update: tuple[str, ...],
    returning: str,
    condition: str = "",
) -> str:
    """Return the statement that inserts rows; on a clash over `keys` it updates `update`, or does nothing.

    `+name` in `update` adds to a column; `name=expression` sets it to one of the table's columns and `excluded`'s.
    Unless `condition` holds, on PostgreSQL, nothing is inserted.
    """
    if dialect == "postgresql":
        picked = ", ".join(
            f'r."{name}"::jsonb' if isinstance(table.c[name].type, Labels) else f'r."{name}"' for name in columns
        )
        source = f"SELECT {picked} FROM {_rows(table, columns)} AS r"
        where = [condition] if condition else []
        if keys and not update:
            # A row that clashes would use up a number all the same, and cost as much as one that does not.
            same = " AND ".join(f't."{name}" = r."{name}"' for name in keys)
            where.append(f"NOT EXISTS (SELECT 1 FROM {table.name} t WHERE {same})")
        source += f" WHERE {' AND '.join(where)}" if where else ""
    else:
        source = f"VALUES ({', '.join('?' * len(columns))})"
    sql = f"INSERT INTO {table.name} ({quoted(columns)}) {source}"
    if keys:
        sql += f" ON CONFLICT ({quoted(keys)}) DO "
        sql += f"UPDATE SET {', '.join(_set(table, name) for name in update)}" if update else "NOTHING"
    return sql + (f" RETURNING {returning}" if returning else "")


@cache
def update_sql(
    table: Table,
    key: tuple[str, ...],
    columns: tuple[str, ...],
    dialect: str,
    special: tuple[tuple[str, str], ...],
    condition: str = "",
) -> str:
    """Return the statement that updates rows by key (see `update`), on PostgreSQL only if `condition` holds."""
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
    where = " AND ".join([f't."{name}" = {values[name]}' for name in key] + ([condition] if condition else []))
    if dialect == "sqlite":
        return f"UPDATE {table.name} AS t SET {sets} WHERE {where}"
    return f"UPDATE {table.name} t SET {sets} FROM {_rows(table, named)} AS r WHERE {where}"


@cache
def select_sql(
    table: Table, key: tuple[str, ...], dialect: str, count: int, columns: tuple[str, ...], lock: bool
) -> str:
    """Return the statement that finds rows by key; on SQLite by so many (`count`) keys."""
    names = [f't."{name}"' for name in columns]
    if dialect == "postgresql":
        joined = " AND ".join(f't."{name}" = k."{name}"' for name in key)
        order = ", ".join(f't."{name}"' for name in key)
        sql = f"SELECT {', '.join(names)} FROM {table.name} t JOIN {_rows(table, key)} AS k ON {joined}"
        return sql + (f" ORDER BY {order} FOR UPDATE OF t" if lock else "")
    places = ", ".join(f"({', '.join('?' * len(key))})" for _ in range(count))
    listed = ", ".join(f't."{name}"' for name in key)
    return f"SELECT {', '.join(names)} FROM {table.name} t WHERE ({listed}) IN (VALUES {places})"


@cache
def as_one(parts: tuple[tuple[str, int, Told], ...], front: str, given: int, first: str) -> str:
    """Return one statement for several (each with how many parameters it has and what it tells), renumbered.

    `front`, `given` and `first` are as in `Together.whole`, but that here `given` is how many parameters.
    """
    texts, telling = [front] if front else [], []
    for number, (sql, count, told) in enumerate(parts):
        moved = _PLACE.sub(lambda place, by=given: f"${int(place[1]) + by}", sql)  # type: ignore[misc]
        texts.append(f"part{number} AS ({moved})")
        given += count
        if told:
            telling.append(f"SELECT {quoted(told)} FROM part{number}")
    wanted = [first] if front else []
    sources = ["guard"] if front else []
    if telling:
        wanted.append("pg_current_xact_id()::xid, told.*")
        sources.append(f"({' UNION ALL '.join(telling)}) AS told{' ON true' if front else ''}")
    end = f"SELECT {', '.join(wanted)}" + (f" FROM {' LEFT JOIN '.join(sources)}" if sources else "")
    return f"WITH {', '.join(texts)} {end}"
