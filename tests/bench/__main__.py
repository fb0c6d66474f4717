"""`python -m tests.bench`: how fast deliveries are taken and workflows reconciled, against ceilings of the same run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

import orjson
from rich.console import Console

from tests.bench import tables
from tests.bench.checking import Kept, check
from tests.bench.contenders import CEILINGS, STORES, BenchFailed, Postgres, contender, postgres
from tests.bench.measure import Plan, Series, measure
from tests.bench.reconciling import Passes, measure_passes

WIDTH = 160


def main() -> int:
    """Measure, print, return the exit code: 1 when a delivery answered 200 is not stored once, or a look was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, help="measured per round and contender (default 4; quick: 1)")
    parser.add_argument("--rounds", type=int, help="rounds per contender (default 5; quick: 2)")
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it works, measures little")
    parser.add_argument("--only", choices=[*STORES, "reconcile"], help="this one only, with its ceilings")
    parser.add_argument("--workflows", type=int, help="workflows in a reconcile pass (default 1000; quick: 100)")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    given = parser.parse_args()
    quick = given.quick
    plan = Plan(given.seconds or (1.0 if quick else 4.0), 0.3 if quick else 1.0, given.rounds or (2 if quick else 5))
    console = Console(width=WIDTH)
    try:
        with tempfile.TemporaryDirectory(prefix="hookledger-bench-") as name:
            return _bench(
                console, Path(name), plan, given.only, given.workflows or (100 if quick else 1000), given.json
            )
    except BenchFailed as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2


def _bench(console: Console, folder: Path, plan: Plan, only: str | None, workflows: int, out: Path | None) -> int:
    stores = [name for name in STORES if only in (None, name)]
    series: dict[str, Series] = {}
    kept: dict[str, Kept] = {}
    passes: dict[str, Passes] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres()) if only != "sqlite" else None
        if stores:
            series = _deliveries(folder, plan, stores, server)
            kept = {name: asyncio.run(check(_url(series[name]), series[name].acknowledged)) for name in stores}
            tables.print_deliveries(console, series, kept, plan)
        if only in (None, "reconcile"):
            passes = measure_passes(folder, workflows, min(plan.rounds, 3), STORES, server)
            tables.print_passes(console, passes)
    if out is not None:
        out.write_bytes(orjson.dumps(tables.as_json(series, kept, passes, plan), option=orjson.OPT_INDENT_2))
    sound = all(one.sound for one in kept.values()) and all(one.sound for one in passes.values())
    return 0 if sound else 1


def _deliveries(folder: Path, plan: Plan, stores: list[str], server: Postgres | None) -> dict[str, Series]:
    with contextlib.ExitStack() as running:
        contenders = [running.enter_context(contender(name, folder, server)) for name in (*CEILINGS, *stores)]
        return measure(contenders, plan, folder)


def _url(series: Series) -> str:
    assert series.contender.database is not None
    return series.contender.database


if __name__ == "__main__":
    sys.exit(main())
