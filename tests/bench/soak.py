"""Memory under full load for a long time: it must be flat once everything has been used for a minute."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.bounds import Bound
from tests.bench.measure import Plan, Series, Traffic, play

PIECE = 10.0  # seconds of each load; its process remembers every delivery, so it must not live as long as the soak
SETTLED = 60.0  # seconds of load after which memory is compared with that at the end
GROWS = 1.10  # times that memory at most


def soak(console: Console, series: Mapping[str, Series], seconds: float, plan: Plan, folder: Path) -> None:
    """Load each contender for so long, one after the other, and say every ten seconds what it holds."""
    traffic = Traffic(folder)
    piece = replace(plan, seconds=min(PIECE, seconds), warm=0.0)
    for mine in series.values():
        while mine.loaded < seconds:
            told = play(mine, piece, traffic)
            console.print(
                f"  {mine.contender.kind.title}: after {mine.loaded:4.0f} s {mine.memory[-1][1]:.1f} MiB,"
                f" {told.load.rate:,.0f}/s, p99 {told.load.p99:.0f} ms, {mine.sent:,} deliveries",
                highlight=False,
            )


def of_soak(series: Mapping[str, Series]) -> list[Bound]:
    """Return issue 4's bound on memory, for those that were loaded for longer than it takes to settle."""
    found = []
    for mine in series.values():
        settled = _around(mine, SETTLED)
        if settled is not None and mine.loaded >= 2 * SETTLED:
            name = f"{mine.contender.kind.title}: memory after {mine.loaded:.0f} s / after {SETTLED:.0f} s of full load"
            last = [size / settled for at, size in mine.memory if at >= mine.loaded - PIECE]
            found.append(Bound(name, GROWS, last, at_most=True))
    return found


def _around(mine: Series, instant: float) -> float | None:
    """The memory at an instant: the median of the ten seconds before it."""
    sizes = [size for at, size in mine.memory if instant - PIECE <= at <= instant]
    return statistics.median(sizes) if sizes and mine.loaded >= instant else None


def print_soak(console: Console, series: Mapping[str, Series]) -> None:
    """Print the memory by minutes."""
    table = Table(title="Memory under full load, MiB, by seconds of load")
    longest = max(mine.loaded for mine in series.values())
    instants = [one for one in (10, 60, 120, 300, 600, 1200, 1800, 3600) if one <= longest]
    for column in ("", "at the start", *(f"{one} s" for one in instants), "at the end", "at most"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for mine in series.values():
        sizes = [_around(mine, one) for one in instants]
        table.add_row(
            mine.contender.kind.title,
            f"{mine.memory[0][1]:.1f}",
            *(f"{size:.1f}" if size is not None else "" for size in sizes),
            f"{mine.memory[-1][1]:.1f}",
            f"{max(size for _, size in mine.memory):.1f}",
        )
    console.print(table)
