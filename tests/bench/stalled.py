"""`python -m tests.bench.stalled`: what thousands of stalled connections cost real traffic, and what they cost at all.

Rounds alternate: the usual traffic alone, and beside it N connections from 500 addresses that say nothing, or a byte of
a head or a body now and then. Everything answered 200 is looked for in the database afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from tests.bench import machine
from tests.bench.checking import Kept, check
from tests.bench.contenders import CONTENDERS, Contender, contender
from tests.bench.holding import SHAPES, Held, Hold
from tests.bench.measure import Plan, Series, Traffic, play
from tests.bench.processes import BenchFailed, postgres

FILES = 1000  # open files beside the connections that are held


@dataclass
class Findings:
    """What was measured: rates per second, `kib` of the server's memory per stalled connection, each by round."""

    count: int
    deadline: float
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    kib: list[float] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    kept: Kept | None = None

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(b / a for a, b in zip(self.alone, self.beside, strict=True))

    def late(self, shape: str) -> float:
        """The worst lateness of a shape, seconds."""
        return max(held.late[shape] for held in self.held)


@contextlib.contextmanager
def holding(job: Hold) -> Iterator[subprocess.Popen[bytes]]:
    """Hold connections while inside; they are all open when it begins. Its output is the caller's to read."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.holding", orjson.dumps(asdict(job)).decode()], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"open\n":
            raise BenchFailed("the stalled connections could not be opened")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def one_round(found: Findings, series: Series, plan: Plan, traffic: Traffic, *, beside: bool) -> None:
    """Measure the traffic, alone or beside the stalled connections; then wait until those are closed."""
    if not beside:
        found.alone.append(play(series, plan, traffic).load.rate)
        return
    one = series.contender
    before = machine.memory(one.pid)
    with holding(Hold(one.port, found.count, found.deadline)) as process:
        found.kib.append((machine.memory(one.pid) - before) * 1024 / found.count)
        found.beside.append(play(series, plan, traffic).load.rate)
        assert process.stdout is not None
        told = process.stdout.read()
    found.held.append(Held(**orjson.loads(told)))


def measure(one: Contender, plan: Plan, found: Findings, folder: Path) -> None:
    """Run all rounds and look for what was answered 200."""
    series, traffic = Series(one), Traffic(folder)
    play(series, Plan(1.0, 0.5, 1, plan.connections), traffic)  # the first connections and statements cost more
    for number in range(plan.rounds):
        for beside in (False, True) if number % 2 == 0 else (True, False):
            one_round(found, series, plan, traffic, beside=beside)
    found.kept = asyncio.run(check(one.database, series.acknowledged))


def show(console: Console, found: Findings) -> None:
    """Print what was found."""
    table = Table(title=f"{found.count} stalled connections beside the usual traffic", title_justify="left")
    for name in ("rates per second, round by round", "alone", "beside", "ratio"):
        table.add_column(name, justify="left" if "," in name else "right")
    for number, (alone, beside) in enumerate(zip(found.alone, found.beside, strict=True), 1):
        table.add_row(f"round {number}", f"{alone:,.0f}", f"{beside:,.0f}", f"{beside / alone:.2f}")
    table.add_row("median of the ratios (at least 0.80 is wanted)", "", "", f"{found.ratio:.2f}")
    console.print(table)
    for shape in SHAPES:
        told: Counter[str] = Counter()
        for held in found.held:
            told.update(held.told[shape])
        console.print(f"{shape}: closed at most {found.late(shape):+.2f} s after the deadline; heard {dict(told)}")
    console.print(f"memory: {max(found.kib):.1f} KiB per stalled connection at most (16 are allowed)")
    console.print(f"deliveries: {found.kept}")


def sound(found: Findings) -> bool:
    """Whether every connection was opened and closed, and every acknowledged delivery is stored once."""
    whole = all(held.opened == held.closed == found.count for held in found.held)
    return whole and found.kept is not None and found.kept.sound


def main() -> int:
    """Measure, print, return the exit code: 1 when a connection stayed open or a delivery is not stored once."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stalled", description=__doc__)
    parser.add_argument("--connections", type=int, default=5000, help="how many stall (default 5000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured per round; less than the deadline")
    parser.add_argument("--deadline", type=float, default=10.0, help="server.body_timeout, seconds (default 10)")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    given = parser.parse_args()
    os.environ["HOOKLEDGER_SERVER__BODY_TIMEOUT"] = str(given.deadline)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(given.connections + FILES, hard), hard))
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hookledger-stalled-")))
            server = stack.enter_context(postgres()) if given.store == "postgresql" else None
            one = stack.enter_context(contender(CONTENDERS[given.store], folder, server))
            found = Findings(given.connections, given.deadline)
            measure(one, Plan(given.seconds, 0.5, given.rounds), found, folder)
    except BenchFailed as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    show(Console(width=120), found)
    if given.json is not None:
        told = {**asdict(found), "ratio": found.ratio, "late": {shape: found.late(shape) for shape in SHAPES}}
        given.json.write_bytes(orjson.dumps(told, default=str, option=orjson.OPT_INDENT_2))
    return 0 if sound(found) else 1


if __name__ == "__main__":
    sys.exit(main())
