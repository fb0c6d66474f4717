"""`python -m tests.bench`: how fast deliveries are taken and workflows reconciled, beside ceilings and peers."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from tests.bench import bounds, growth, machine, mix, rates, soak, tables
from tests.bench.checking import check_all
from tests.bench.contenders import CONTENDERS, Kind, contender, missing
from tests.bench.measure import PREPARED, SEED, Plan, Series, measure
from tests.bench.processes import BenchFailed, Postgres, postgres
from tests.bench.reconciling import measure_passes

WIDTH = 200
PARTS = ("deliveries", "rates", "burst", "growth", "reconcile")
STORES = ("postgresql", "sqlite")


def main() -> int:
    """Measure, print, return the exit code: 1 when a delivery answered 200 is not stored once, or a look was lost."""
    given = _arguments()
    # Ending as on Ctrl-C, so that what was started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    console = Console(width=WIDTH)
    try:
        keep = given.keep / "postgres" if given.keep is not None else None
        with tempfile.TemporaryDirectory(prefix="hookledger-bench-") as name, postgres(keep) as server:
            run = Run(console, Path(name), server, given)
            for part in ("soak",) if given.soak else given.parts:
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
    parser.add_argument("--rounds", type=int, help="rounds per contender (default 5; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, measures nothing")
    parser.add_argument("--usual", type=float, default=50.0, help="deliveries per second before a burst (default 50)")
    parser.add_argument("--times", type=float, default=200.0, help="how many times that a burst is (default 200)")
    parser.add_argument("--burst", type=float, help="seconds that it lasts (default 3; quick: 0.4)")
    parser.add_argument("--connections", type=int, default=800, help="connections of a burst (default 800)")
    parser.add_argument("--grow", type=int, help="workflows to load into a ledger (default 200000; quick: 10000)")
    parser.add_argument("--keep", type=Path, help="a folder for the large ledger, which the next run need not load")
    parser.add_argument("--soak", type=float, help="only this: seconds of full load on each store, for its memory")
    parser.add_argument("--workflows", type=int, help="workflows in a reconcile pass (default 1000; quick: 100)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    given = parser.parse_args()
    quick = given.quick
    seconds, warm, rounds = (0.5, 0.2, 1) if quick else (4.0, 1.0, 5)
    given.plan = Plan(given.seconds or seconds, warm, given.rounds or rounds)
    given.burst = given.burst or (0.4 if quick else 3.0)
    given.grow = given.grow or (10_000 if quick else 200_000)
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
        self.parts = 0

    def deliveries(self) -> None:
        """Every contender on the same traffic, in turn."""
        self.console.print(mix.described(mix.bodies(SEED, PREPARED, datetime.now(UTC))), highlight=False)
        with self._running(self.given.only or list(CONTENDERS)) as series:
            measure(series, self.plan, self.folder)
        kept = asyncio.run(check_all(series))
        tables.print_deliveries(self.console, series, kept, self.plan)
        self.found["contenders"] = tables.as_json(series, kept)
        self.bounds += bounds.of_deliveries(series)
        self.sound = self.sound and all(one.sound for one in kept.values())

    def rates(self) -> None:
        """Latency at rates that can be kept up with."""
        with self._running((*STORES, *rates.SLOW)) as series:
            found = rates.measure_rates(series, self.plan, self.folder)
            self._check(series)
        rates.print_rates(self.console, found, self.plan)
        self.found["rates"] = [asdict(one) | {"contender": one.contender.name} for one in found]
        self.bounds += rates.of_rates(found)

    def burst(self) -> None:
        """A burst of many times the usual rate."""
        given = self.given
        with self._running(STORES) as series:
            found = rates.measure_bursts(series, self.folder, given.usual, given.times, given.burst, given.connections)
            self._check(series)
        rates.print_bursts(self.console, found)
        self.found["burst"] = [asdict(one) | {"contender": one.contender.name} for one in found]

    def growth(self) -> None:
        """An empty ledger and a large one in turn."""
        for store in [name for name in STORES if name in (self.given.only or CONTENDERS)]:
            with growth.grown(store, self.given.grow, self.plan, self._folder(), self.server, self.given.keep) as found:
                self._check(found.series)
            growth.print_growth(self.console, found)
            rounds = {name: [asdict(each) for each in one.rounds] for name, one in found.series.items()}
            told = {"workflows": found.workflows, "loading": found.loading, "rounds": rounds}
            self.found.setdefault("growth", {})[store] = told
            self.bounds += growth.of_growth(found)

    def soak(self) -> None:
        """Full load for a long time."""
        with self._running(STORES) as series:
            soak.soak(self.console, series, self.given.soak, self.plan, self.folder)
            self._check(series)
        soak.print_soak(self.console, series)
        self.found["soak"] = {name: one.memory for name, one in series.items()}
        self.bounds += soak.of_soak(series)

    def _folder(self) -> Path:
        """A new folder for a part that starts contenders which others have started too."""
        self.parts += 1
        folder = self.folder / f"part-{self.parts}"
        folder.mkdir()
        return folder

    @contextlib.contextmanager
    def _running(self, names: Sequence[str]) -> Iterator[dict[str, Series]]:
        """Start those of these contenders that are wanted, in databases of their own."""
        folder = self._folder()
        with contextlib.ExitStack() as running:
            chosen = [
                running.enter_context(contender(kind, folder, self.server, f"_{self.parts}"))
                for kind in self._chosen([name for name in names if name in (self.given.only or CONTENDERS)])
            ]
            yield {one.name: Series(one) for one in chosen}

    def _check(self, series: Mapping[str, Series]) -> None:
        """Check in the databases what was acknowledged, and say what was found."""
        for name, kept in asyncio.run(check_all(series)).items():
            self.console.print(f"  {series[name].contender.kind.title}: {tables.kept_line(kept)}", highlight=False)
            self.sound = self.sound and kept.sound

    def _chosen(self, names: Sequence[str]) -> Sequence[Kind]:
        chosen = []
        for name in names:
            why = missing(CONTENDERS[name], self.server)
            if why:
                self.console.print(f"Left out: {CONTENDERS[name].title}. {why}", highlight=False, markup=False)
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
