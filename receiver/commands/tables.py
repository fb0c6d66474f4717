"""Tables on the terminal. Upstream's texts are data: no markup, no control characters, no secrets."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from receiver.redaction import Redactor

# In tables to the second; `--json` has all of it.
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z")
_SHORT = 24  # characters; longer cells are ids, notes and paths
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


def _shown(value: Any) -> str:
    text = plain(value)
    found = _INSTANT.fullmatch(text)
    return f"{found[1]}Z" if found else text


def counted(count: int, word: str) -> str:
    """Return how many there are of what `word` names one of: "1 page", "2 pages"."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def print_table(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], redactor: Redactor, title: str | None = None
) -> None:
    """Print rows as a table."""
    console().print(table_of(columns, rows, redactor, title))


def table_of(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], redactor: Redactor, title: str | None = None
) -> Table:
    """Return rows as a table. Secrets go before the text is laid out: cut in two by a line's end none is found."""
    shown = [[_shown(value) for value in redactor.json([row.get(name) for name in columns])] for row in rows]
    widest = [max(map(len, cells)) for cells in zip(columns, *shown, strict=True)]
    # An instant or a status broken over two lines is hard to read: what is long gives way, where that leaves room.
    whole = sum((width if width <= _SHORT else _SHORT // 2) + 3 for width in widest) <= console().width
    table = Table(box=box.SIMPLE, title=title, title_justify="left", pad_edge=False)
    for name, width in zip(columns, widest, strict=True):
        table.add_column(name, no_wrap=whole and width <= _SHORT)
    for row in shown:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
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
