"""The newest rows of several stretches of one index, put in order together.

A list of some sources and some statuses is what the index by source, status and time has in as many stretches, each in
the order of the list. However many they are, the statement is the same: to put one together for each, row by row of a
UNION, takes Python longer than the database takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    Integer,
    Select,
    Table,
    Text,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.sql.expression import FromClause, TableValuedAlias

Words = tuple[ColumnElement[Any], ColumnElement[Any]]


def newest(
    table: Table,
    key: Sequence[str],
    order: Sequence[str],
    stretches: Iterable[tuple[str, str]],
    within: Callable[[ColumnElement[Any], ColumnElement[Any]], Sequence[ColumnElement[bool]]],
    limit: int,
    dialect: str,
) -> Select[Any]:
    """Return the query for the `key` columns of the newest `limit` rows of all stretches, newest first.

    `within` says, of the two words of a stretch, which rows of `table` belong to it; `order` are the columns of the
    order, each from the greatest down, and the end of an index that begins with the two words.
    """
    told = literal(orjson.dumps(list(stretches)).decode(), Text)
    if dialect == "postgresql":
        place = func.json_array_elements(cast(told, JSON)).table_valued(column("value", JSON), name="place")
    else:
        place = func.json_each(told).table_valued(column("value", Text), name="place")
    words = (_word(place, 0), _word(place, 1))
    columns = [table.c[name] for name in dict.fromkeys((*key, *order))]
    one = select(*columns).where(*within(*words)).order_by(*_down(table.c, order)).limit(limit).correlate(place)
    if dialect == "postgresql":
        found = one.lateral("found")
        query = select(*(found.c[name] for name in key)).select_from(place.join(found, true()))
        return query.order_by(*_down(found.c, order)).limit(limit)
    # SQLite has no LATERAL, but asks anew for each place what stands behind IN.
    rows = _again(table)
    mine: Select[Any] = one.with_only_columns(literal_column(f"{table.name}.rowid")).select_from(table)
    query = select(*(rows.c[name] for name in key)).select_from(
        place.join(rows, literal_column("found.rowid", Integer).in_(mine))
    )
    return query.order_by(*_down(rows.c, order)).limit(limit)


@cache  # SQLAlchemy makes all its columns anew
def _again(table: Table) -> FromClause:
    return table.alias("found")


def _word(place: TableValuedAlias, number: int) -> ColumnElement[str]:
    return place.c.value.op("->>", return_type=Text())(literal_column(str(number)))


def _down(columns: Any, order: Sequence[str]) -> list[ColumnElement[Any]]:
    return [columns[name].desc() for name in order]
