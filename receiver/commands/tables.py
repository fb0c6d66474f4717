"""Tables on the terminal. Upstream's texts are data: no markup, no control characters, no secrets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from receiver.redaction import Redactor

# Not a terminal: nobody's window is too narrow, and whoever reads by program must find each value in one piece.
_WIDE = 1000


def console() -> Console:
    """Return a console on standard output; it writes without colours, and without wrapping, into a pipe or a file."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False, emoji=False)


def plain(value: Any) -> str:
    """Return a value as text for a cell: `-` for nothing, JSON for what is not a text, no control characters."""
    if value is None or value == "":
        return "-"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def print_table(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], redactor: Redactor, title: str | None = None
) -> None:
    """Print rows as a table."""
    console().print(table_of(columns, rows, redactor, title))


def table_of(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], redactor: Redactor, title: str | None = None
) -> Table:
    """Return rows as a table. Secrets go before the text is laid out: cut in two by a line's end none is found."""
    table = Table(*columns, box=box.SIMPLE, title=title, title_justify="left", pad_edge=False)
    for row in rows:
        known = redactor.json({name: row.get(name) for name in columns})
        table.add_row(*(Text(plain(known.get(name)), overflow="fold") for name in columns))
    return table


def print_fields(fields: Mapping[str, Any], redactor: Redactor) -> None:
    """Print names and values, one pair a line, leaving out what is absent."""
    console().print(fields_of(fields, redactor))


def fields_of(fields: Mapping[str, Any], redactor: Redactor) -> Table:
    """Return names and values, one pair a line, leaving out what is absent."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in redactor.json(dict(fields)).items():
        if value is not None and value != "":
            table.add_row(Text(str(name), style="bold"), Text(plain(value), overflow="fold"))
    return table
