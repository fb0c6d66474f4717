"""`--watch`: what a command shows, drawn anew whenever it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from receiver.commands.tables import console
from receiver.ledger.database import LedgerError
from receiver.ledger.engines import DRIVER_ERRORS

EVERY = 1.0  # seconds between looks at the ledger

# What there is to show now, and whether nothing more is to come.
Draw = Callable[[], Awaitable[tuple[RenderableType, bool]]]


async def watch(draw: Draw, *, every: float = EVERY) -> None:
    """Draw again and again until nothing more is to come. On a terminal in place; into a pipe or a file each change
    once, one below the other. While the ledger cannot be reached, that is said, and tried again."""
    out = console()
    if out.is_terminal:
        with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
            await _draw(lambda shown: live.update(shown, refresh=True), draw, every)
        return
    last = ""

    def print_changes(shown: RenderableType) -> None:
        nonlocal last
        text = _text(out, shown)
        if text != last:
            out.file.write(text)
            out.file.flush()
            last = text

    await _draw(print_changes, draw, every)


async def _draw(show: Callable[[RenderableType], None], draw: Draw, every: float) -> None:
    while True:
        try:
            shown, ended = await draw()
        except (LedgerError, DBAPIError, *DRIVER_ERRORS):
            shown, ended = Text("the ledger cannot be reached just now"), False
        show(shown)
        if ended:
            return
        await asyncio.sleep(every)


def _text(out: Console, shown: RenderableType) -> str:
    with out.capture() as captured:
        out.print(shown)
    return captured.get()
