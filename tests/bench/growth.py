"""How a delivery's cost, the rate and the latency change as the ledger grows: an empty one and a large one in turn."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import keeping
from tests.bench.bounds import Bound
from tests.bench.contenders import CONTENDERS, contender
from tests.bench.measure import PREPARED, Plan, Round, Series, measure
from tests.bench.processes import Postgres
from tests.bench.tables import ratios, spread

GROWS = 1.30  # times the CPU per delivery of an empty ledger: issue 4's bound
TRAFFIC = {"empty": "empty ledger", "full": "large, new workflows", "old": "large, old workflows"}


@dataclass
class Growth:
    """All rounds on one sort of database: `series` are "empty", "full" (deliveries about new workflows) and "old"
    (about random loaded ones). `loading` is how many seconds it took to load `workflows`."""

    store: str
    workflows: int
    loading: float
    series: dict[str, Series]


@contextlib.contextmanager
def grown(
    store: str, workflows: int, plan: Plan, folder: Path, server: Postgres, keep: Path | None = None
) -> Iterator[Growth]:
    """Measure on one sort of database; inside, both ledgers are still there to be checked.

    The large ledger is in `keep`, where a later run finds it, or goes with `folder`.
    """
    kind = CONTENDERS[store]
    small, large = replace(kind, name=f"{store}-empty"), replace(kind, name=f"{store}-full")
    with contextlib.ExitStack() as running:
        empty = running.enter_context(contender(small, folder, server))
        began = time.monotonic()
        kept = keeping.large(store, workflows, keep or folder, server)
        loading = time.monotonic() - began
        full = running.enter_context(contender(large, folder, server, kept=kept))
        old = replace(full, kind=replace(large, name=f"{store}-old", old=workflows))
        series = {name: Series(one) for name, one in (("empty", empty), ("full", full), ("old", old))}
        if keep is not None:
            for one in (series["full"], series["old"]):  # other traffic than that of runs before
                one.sent = int(time.time()) // 10 % 90_000 * PREPARED
        measure(series, plan, folder)
        yield Growth(store, workflows, loading, series)


_FIGURES: Mapping[str, Callable[[Round], float]] = {
    "cpu": lambda r: r.cpu,
    "rate": lambda r: r.load.rate,
    "p50": lambda r: r.load.p50,
    "p99": lambda r: r.load.p99,
}


def of_growth(growth: Growth) -> list[Bound]:
    """Return issue 4's bound on the CPU per delivery, for new and for old workflows."""
    name = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}[growth.store]
    return [
        Bound(
            f"{name}: CPU per delivery, {growth.workflows:,} workflows / none ({about})",
            GROWS,
            ratios(growth.series, one, "empty", _FIGURES["cpu"]),
            at_most=True,
        )
        for one, about in (("full", "new ones"), ("old", "old ones"))
    ]


def print_growth(console: Console, growth: Growth) -> None:
    """Print the figures of the three sorts of traffic, and their ratios to the empty ledger's."""
    title = CONTENDERS[growth.store].title
    table = Table(title=f"Growth: {title}, from no workflow to {growth.workflows:,}")
    columns = ("", "per second", "p50 ms", "p99 ms", "server µs", "database µs", "CPU of empty", "rate of empty")
    for column in (*columns, "p99 of empty"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, one in growth.series.items():
        told = [ratios(growth.series, name, "empty", _FIGURES[figure]) for figure in ("cpu", "rate", "p99")]
        table.add_row(
            TRAFFIC[name],
            *(spread([_FIGURES[figure](r) for r in one.rounds], digits) for figure, digits in _COLUMNS),
            spread([r.server_cpu for r in one.rounds]),
            spread([r.database_cpu for r in one.rounds]) if one.contender.server else "",
            *(spread(ratio, 2) if name != "empty" else "1" for ratio in told),
        )
    console.print(table)
    size = statistics.median(r.load.mean_body for one in growth.series.values() for r in one.rounds)
    console.print(
        f"  Loaded in {growth.loading:.0f} s with a step, a job, a transition, one piece of evidence without body, its"
        f" key and a check each; then VACUUM, ANALYZE and a checkpoint. Deliveries of {size:.0f} bytes on average.",
        highlight=False,
    )


_COLUMNS = (("rate", 0), ("p50", 1), ("p99", 1))
