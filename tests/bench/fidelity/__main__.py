"""`python -m tests.bench.fidelity`: four ways to learn of endings, on the same six hours; see `upstream`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from tests.bench.fidelity import baselines
from tests.bench.fidelity.ours import Simulation
from tests.bench.fidelity.outcome import Outcome, quantile
from tests.bench.fidelity.upstream import Scenario, Work, drawn

CONTENDERS = {
    "callbacks alone": baselines.callbacks_alone,
    "cron, all open each 30 s": baselines.cron,
    "advice 2-5-10-15-30 s": baselines.advice,
    "hookledger": lambda scenario, works: Simulation(scenario, works).run(),
}


def scenarios(share: float, seed: int) -> list[Scenario]:
    """Return the days to play: three upstreams, two ways to lose callbacks; 10 000 workflows in each way."""
    found = []
    for loss in ("each", "tail"):
        found.append(Scenario("one by one", int(6000 * share), loss, children=True, seed=seed))
        found.append(Scenario("batches of 50", int(3500 * share), loss, bulk=50, seed=seed))
        found.append(Scenario("list, 5 reads a minute", int(500 * share), loss, bulk=100, budget=5, seed=seed))
    return found


def main() -> int:
    """Play, print, and return 1 when ours got an ending wrong or missed a bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fidelity", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the workflows (default 1: 10 000)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    console = Console(width=150)
    failures: list[str] = []
    table = Table(
        "upstream", "lost", "workflows", "contender", "wrong", "reads each", "confirming", "lag p50", "lag p95"
    )
    for scenario in scenarios(given.share, given.seed):
        works = drawn(scenario)
        outcomes = {name: play(scenario, works) for name, play in CONTENDERS.items()}
        for row in _rows(scenario, works, outcomes):
            table.add_row(*row)
        table.add_section()
        failures += missed(scenario, works, outcomes["cron, all open each 30 s"], outcomes["hookledger"])
    console.print(table)
    for failure in failures:
        console.print(f"missed: {failure}")
    console.print(f"{time.perf_counter() - began:.0f} s")
    return 1 if failures else 0


def _rows(scenario: Scenario, works: list[Work], outcomes: dict[str, Outcome]) -> Iterable[tuple[str, ...]]:
    for name, outcome in outcomes.items():
        lags = outcome.lags(scenario, works)
        yield (
            scenario.name,
            f"{scenario.loss}, {len(lags)}",
            str(scenario.count),
            name,
            str(outcome.wrong),
            f"{outcome.reads / scenario.count:.2f}",
            f"{outcome.confirming / scenario.count:.2f}",
            f"{quantile(lags, 0.5):.1f} s",
            f"{quantile(lags, 0.95):.1f} s",
        )


def missed(scenario: Scenario, works: list[Work], cron: Outcome, ours: Outcome) -> list[str]:
    """Return which bounds ours does not keep on such a day."""
    found = []
    theirs, mine = (quantile(one.lags(scenario, works), 0.95) for one in (cron, ours))
    if ours.wrong:
        found.append(f"{ours.wrong} endings wrong or not confirmed")
    if scenario.bulk > 1 and ours.reads > 1.5 * scenario.count:
        found.append(f"{ours.reads / scenario.count:.2f} reads a workflow, 1.5 allowed")
    if scenario.bulk > 1 and mine > theirs:
        found.append(f"p95 of {mine:.1f} s, cron's is {theirs:.1f} s")
    if scenario.bulk == 1 and ours.reads > cron.reads / 3:
        found.append(f"{ours.reads} reads, a third of cron's are {cron.reads // 3}")
    if scenario.bulk == 1 and mine > 2 * theirs:
        found.append(f"p95 of {mine:.1f} s, twice cron's is {2 * theirs:.1f} s")
    return [f"{scenario.name}, {scenario.loss}: {one}" for one in found]


if __name__ == "__main__":
    sys.exit(main())
