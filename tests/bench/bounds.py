"""What issue 4 asks for, as ratios within one run, beside what this run has measured.

What stands in the way of those that do not hold on two cores, by a profile of one delivery (PostgreSQL, one worker, 64
connections):

- HTTP, proof, reading and merging take 80 µs of the server before anything is stored, a quarter of them for the write
  that wakes the client. A bare server answers in 15 µs, and a whole transaction of pgbench takes some 90 µs of CPU, so
  no store behind this server reaches a fifth of the one or 0.85 of the other.
- Storing takes some 45 µs more in the server and 80 to 90 µs in the database. A quarter of the time it waits for
  PostgreSQL. A second batch under way meanwhile would be made of what now waits for the first one: batches of half the
  size, which cost a fifth more on both sides (as two workers show when each commits its own).
- Of two workers one commits for both, so that its memory stays true and its batches large. Passing deliveries on costs
  20 to 40 µs each in the server. The rate is that of one committer, whose round trips have to share two cores with one
  process more: between 0.8 and 0.9 of one worker's.
- SQLite has its statements run in a thread of the server, on the core that everything else of it needs too. Two fifths
  of its CPU are HTTP and reading, as everywhere; a quarter goes into statements and commits; the rest is working out
  what to ask and to write.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from tests.bench.measure import Round, Series
from tests.bench.tables import ratios, spread


@dataclass(frozen=True)
class Bound:
    """One required ratio: the median of `ratios`, one per round, must be at least (or at most) `limit`."""

    name: str
    limit: float
    ratios: Sequence[float]
    at_most: bool = False
    median: float = field(init=False)
    holds: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "median", statistics.median(self.ratios))
        object.__setattr__(self, "holds", self.median <= self.limit if self.at_most else self.median >= self.limit)


def _rate(one: Round) -> float:
    return one.load.rate


def _cpu(one: Round) -> float:
    return one.cpu


# (what the ratio is, contender, base, the figure, the limit, whether it is one from above)
_OF_DELIVERIES: tuple[tuple[str, str, str, Callable[[Round], float], float, bool], ...] = (
    ("PostgreSQL, one worker / bare uvicorn 204", "postgresql", "bare", _rate, 0.20, False),
    ("PostgreSQL, one worker / pgbench, one transaction per delivery", "postgresql", "pgbench", _rate, 0.85, False),
    ("PostgreSQL, one worker / our server with the store taken out", "postgresql", "no-store", _rate, 0.6, False),
    ("PostgreSQL, one worker / ORM handler, one process", "postgresql", "orm", _rate, 30, False),
    ("PostgreSQL, one worker / Django, two processes", "postgresql", "django-2", _rate, 25, False),
    ("PostgreSQL: half replays / all new", "replays", "all-new", _rate, 0.95, False),
    ("SQLite, full sync / PostgreSQL", "sqlite", "postgresql", _rate, 0.7, False),
    ("SQLite: group commit / one by one", "sqlite", "sqlite-single", _rate, 4, False),
    ("PostgreSQL: two workers / one", "postgresql-2", "postgresql", _rate, 0.9, False),
    ("PostgreSQL: CPU per delivery, two workers / one", "postgresql-2", "postgresql", _cpu, 1.25, True),
)


def of_deliveries(series: Mapping[str, Series]) -> list[Bound]:
    """Return the bounds for which both sides have run."""
    return [
        Bound(name, limit, ratios(series, mine, base, figure), at_most)
        for name, mine, base, figure, limit, at_most in _OF_DELIVERIES
        if mine in series and base in series
    ]


def print_bounds(console: Console, bounds: Sequence[Bound]) -> None:
    """Print each bound with the measured median and range, and whether it holds."""
    if not bounds:
        return
    table = Table(title="Bounds")
    for column in ("", "asked", "median (least..most)", "holds"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for one in bounds:
        asked = f"{'≤' if one.at_most else '≥'} {one.limit:g}"
        table.add_row(one.name, asked, spread(one.ratios, 2), "yes" if one.holds else "NO")
    console.print(table)
