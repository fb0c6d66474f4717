"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def instant_to_text(value: datetime) -> str:
    """Return an aware instant as fixed-width UTC text, so that SQLite compares it as text in the order of time."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")


def json_to_text(value: Any) -> str:
    """Return a JSON value as text. Raises TypeError for what JSON cannot hold."""
    return orjson.dumps(value).decode()


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant: TIMESTAMPTZ on PostgreSQL, fixed-width text on SQLite, which has no such type."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return instant_to_text(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        # Not process_result_value, which goes by way of another call for each of a page's thousands of values.
        return None if dialect.name == "postgresql" else _instant


class Json(TypeDecorator[Any]):
    """A JSON document kept as text: written and read whole, never searched, so neither database need parse it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json_to_text(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _json


class Labels(TypeDecorator[dict[str, str]]):
    """A flat JSON object that queries look into: JSONB on PostgreSQL, text with SQLite's JSON functions elsewhere."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # As text on the wire: the driver then takes the same value on both databases.
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return json_to_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return orjson.loads(value) if isinstance(value, str) else value


# SQLite numbers rows by itself only in a column declared INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


class CurrentTransaction(ColumnElement[int]):
    """As a column's default: PostgreSQL's 64-bit number of the transaction that writes the row; null on SQLite."""

    inherit_cache = True


@compiles(CurrentTransaction)
def _no_number(_element: CurrentTransaction, _compiler: SQLCompiler, **_: Any) -> str:
    return "NULL"


@compiles(CurrentTransaction, "postgresql")
def _its_number(_element: CurrentTransaction, _compiler: SQLCompiler, **_: Any) -> str:
    return "pg_current_xact_id()::text::bigint"
