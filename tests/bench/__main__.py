"""`python -m tests.bench`: how fast deliveries are taken and workflows reconciled, beside ceilings and peers."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from tests.bench import bounds, machine, mix, tables
from tests.bench.checking import check_all
from tests.bench.contenders import CONTENDERS, Kind, contender, missing
from tests.bench.measure import PREPARED, SEED, Plan, measure
from tests.bench.processes import BenchFailed, Postgres, postgres
from tests.bench.reconciling import measure_passes

WIDTH = 180
PARTS = ("deliveries", "reconcile")


def main() -> int:
    """Measure, print, return the exit code: 1 when a delivery answered 200 is not stored once, or a look was lost."""
    given = _arguments()
    console = Console(width=WIDTH)
    try:
        with tempfile.TemporaryDirectory(prefix="hookledger-bench-") as name, postgres() as server:
            run = Run(console, Path(name), server, given)
            for part in given.parts:
                getattr(run, part)()
            bounds.print_bounds(console, run.bounds)
    except BenchFailed as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    if given.json is not None:
        given.json.write_bytes(orjson.dumps(run.found | {"bounds": run.bounds}, option=orjson.OPT_INDENT_2))
    return 0 if run.sound else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="these parts only (default: all)")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="NAME", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--seconds", type=float, help="measured per round and contender (default 4; quick: 0.5)")
    parser.add_argument("--rounds", type=int, help="rounds per contender (default 5; quick: 2)")
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it works, measures little")
    parser.add_argument("--workflows", type=int, help="workflows in a reconcile pass (default 1000; quick: 100)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    given = parser.parse_args()
    quick = given.quick
    seconds, warm, rounds = (0.5, 0.3, 2) if quick else (4.0, 1.0, 5)
    given.plan = Plan(given.seconds or seconds, warm, given.rounds or rounds)
    given.workflows = given.workflows or (100 if quick else 1000)
    return given


class Run:
    """One run of the bench; each part is a method. `found` is everything measured, for `--json`."""

    def __init__(self, console: Console, folder: Path, server: Postgres, given: argparse.Namespace) -> None:
        self.console, self.folder, self.server, self.given = console, folder, server, given
        self.plan: Plan = given.plan
        self.found: dict[str, Any] = {"plan": asdict(self.plan), "cores": machine.cores()}
        self.bounds: list[bounds.Bound] = []
        self.sound = True

    def deliveries(self) -> None:
        """Every contender on the same traffic, in turn."""
        self.console.print(mix.described(mix.bodies(SEED, PREPARED, datetime.now(UTC))), highlight=False)
        with contextlib.ExitStack() as running:
            chosen = [running.enter_context(contender(kind, self.folder, self.server)) for kind in self._chosen()]
            series = measure(chosen, self.plan, self.folder)
        kept = asyncio.run(check_all(series))
        tables.print_deliveries(self.console, series, kept, self.plan)
        self.found["contenders"] = tables.as_json(series, kept)
        self.bounds += bounds.of_deliveries(series)
        self.sound = self.sound and all(one.sound for one in kept.values())

    def _chosen(self) -> Sequence[Kind]:
        chosen = []
        for name in self.given.only or CONTENDERS:
            why = missing(CONTENDERS[name], self.server)
            if why:
                self.console.print(f"Left out: {CONTENDERS[name].title}. {why}", highlight=False)
            else:
                chosen.append(CONTENDERS[name])
        return chosen

    def reconcile(self) -> None:
        """Passes of the reconciler, beside a loop that only fetches."""
        passes = measure_passes(
            self.folder, self.given.workflows, min(self.plan.rounds, 3), ("sqlite", "postgresql"), self.server
        )
        tables.print_passes(self.console, passes)
        self.found["reconcile"] = {name: asdict(one) | {"sound": one.sound} for name, one in passes.items()}
        self.sound = self.sound and all(one.sound for one in passes.values())


if __name__ == "__main__":
    sys.exit(main())
