"""`python -m tests.bench.readers`: people and programs that ask a large ledger while deliveries come in.

A real `hookledger serve` on a ledger of millions; readers that ask at random instants, over every list,
filter and page; deliveries at theirs. Each answer's time counts from when its question was due.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import orjson
from rich.console import Console
from rich.table import Table

from tests.bench import asking, keeping
from tests.bench.asking import Ledger
from tests.bench.bounds import Bound, print_bounds
from tests.bench.contenders import CONTENDERS, Contender
from tests.bench.load import percentile
from tests.bench.measure import PREPARED, Series, Traffic
from tests.bench.paced import Report
from tests.bench.processes import BenchFailed, Postgres, free_port, hookledger, postgres, started
from tests.bench.rates import job, send

WARM = 5.0  # seconds before what is measured
DELIVERED = 250.0  # ms at the 99th percentile: issue 6's bound
PATIENCE = 30.0
LIVE = 4  # readers who leave a page open that changes by itself,
PAGE = "/v1/stream?hints=only"  # and what such a page follows


@dataclass
class Answers:
    """What came back: milliseconds by question, statuses by question where they were not 200, and how many were due
    but not asked because the time was over."""

    took: dict[str, list[float]] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)

    def of_sort(self, sort: str) -> list[float]:
        """All of a sort, in order."""
        names = {one.name for one in asking.EVERYTHING if one.sort == sort}
        return sorted(ms for name, all_ms in self.took.items() if name in names for ms in all_ms)


@dataclass(frozen=True)
class Access:
    """How to come in: a token for the API, a cookie for the pages."""

    address: str
    token: str
    cookie: str


def main() -> int:
    """Measure, print; 1 when an answer was wrong or a delivery was refused."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    console = Console(width=160)
    try:
        with contextlib.ExitStack() as running:
            folder = given.keep
            if folder is None:
                folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="hookledger-readers-")))
            folder.mkdir(exist_ok=True)
            server = running.enter_context(postgres(folder / "postgres")) if given.store == "postgresql" else None
            began = time.monotonic()
            url, config = keeping.large(given.store, given.workflows, folder, server)
            console.print(f"A ledger of {given.workflows:,} workflows after {time.monotonic() - began:.0f} s.")
            one = running.enter_context(_serving(given.store, url, config, server))
            answers, report = asyncio.run(_measure(given, one, config, folder))
    except BenchFailed as error:
        sys.stderr.write(f"readers: {error}\n")
        return 2
    _print(console, answers, report, given)
    if given.json is not None:
        told = {
            "took": answers.took,
            "wrong": answers.wrong,
            "deliveries": report.phases[1],
            "statuses": report.statuses,
        }
        given.json.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    return 1 if answers.wrong or set(report.statuses) != {"200"} else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.readers", description=__doc__)
    parser.add_argument("--store", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--workflows", type=int, default=5_000_000, help="in the ledger (default 5000000)")
    parser.add_argument("--seconds", type=float, default=120.0, help="measured (default 120)")
    parser.add_argument("--readers", type=int, default=16, help="who ask (default 16)")
    parser.add_argument("--rate", type=float, default=20.0, help="questions per second of all together (default 20)")
    parser.add_argument("--deliveries", type=float, default=500.0, help="per second (default 500)")
    parser.add_argument("--keep", type=Path, help="a folder for the ledger, which the next run then need not load")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    return parser.parse_args()


@contextlib.contextmanager
def _serving(store: str, url: str, config: Path, server: Postgres | None) -> Iterator[Contender]:
    port, log = free_port(), config.with_suffix(".log")
    with started(hookledger(config, "serve", "--no-reconciler", "--port", str(port)), log, port) as pid:
        yield Contender(CONTENDERS[store], pid, port, log, url, server)


async def _measure(given: argparse.Namespace, one: Contender, config: Path, folder: Path) -> tuple[Answers, Report]:
    series = Series(one)
    # Other traffic than that of earlier runs on the same ledger.
    series.sent = int(time.time()) // 10 % 90_000 * PREPARED
    phases = [(given.deliveries, WARM), (given.deliveries, given.seconds)]
    deliveries = job(series, phases, Traffic(folder), 64)
    answers, ledger = Answers(), asking.ledger_of(given.workflows, seed=1)
    access = await _come_in(config, f"http://127.0.0.1:{one.port}")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        watching = [asyncio.create_task(_watch(session, access, path)) for path in (PAGE,) * LIVE + ("/v1/stream",)]
        sending = asyncio.create_task(asyncio.to_thread(send, series, deliveries))
        begins = time.perf_counter() + WARM
        readers = [
            _read(session, access, ledger, Random(n), given.rate / given.readers, begins, given.seconds, answers)
            for n in range(given.readers)
        ]
        await asyncio.gather(*readers)
        report = await sending
        for each in watching:
            if each.done():
                answers.wrong["an open page's stream ended"] += 1
            each.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return answers, report


async def _come_in(config: Path, address: str) -> Access:
    name = f"reader-{time.time_ns()}"
    made = await asyncio.to_thread(
        subprocess.run,
        hookledger(config, "token", "create", name, "--scope", "read", "--json"),
        check=True,
        capture_output=True,
    )
    token = orjson.loads(made.stdout)["token"]
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{address}/login", data={"token": token}, headers={"origin": address}, allow_redirects=False
        ) as answer,
    ):
        if answer.status != 303:
            raise BenchFailed(f"logging in was answered {answer.status}")
        cookie = answer.headers["set-cookie"].split(";")[0]
    return Access(address, token, cookie)


async def _read(
    session: aiohttp.ClientSession,
    access: Access,
    ledger: Ledger,
    random: Random,
    rate: float,
    begins: float,
    seconds: float,
    answers: Answers,
) -> None:
    """One reader: asks when a question is due, or as soon as the one before is answered."""
    due = time.perf_counter() + random.expovariate(rate)
    while due < begins + seconds:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        asked = asking.drawn(ledger)
        headers = {"cookie": access.cookie, "accept": "text/html"}
        if asked.sort != asking.PAGES:
            headers = {"authorization": f"Bearer {access.token}"}
        async with asyncio.timeout(PATIENCE):
            async with session.get(
                access.address + asked.path(ledger), headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
        if answer.status != 200:
            answers.wrong[f"{asked.name}: {answer.status}"] += 1
        if due >= begins:
            answers.took.setdefault(asked.name, []).append((time.perf_counter() - due) * 1000)
        due += random.expovariate(rate)


async def _watch(session: aiohttp.ClientSession, access: Access, path: str) -> None:
    """Hold a stream open and read what comes."""
    headers = {"cookie": access.cookie, "authorization": f"Bearer {access.token}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
    async with session.get(access.address + path, headers=headers, timeout=timeout) as answer:
        if answer.status != 200:
            raise BenchFailed(f"{path} was answered {answer.status}")
        async for _ in answer.content.iter_any():
            pass


def _print(console: Console, answers: Answers, report: Report, given: argparse.Namespace) -> None:
    table = Table(
        title=f"{given.readers} readers, {given.rate:g} questions/s in all, beside {given.deliveries:g} deliveries/s on"
        f" {given.workflows:,} workflows ({given.store}), ms from when each was due"
    )
    for column in ("", "asked", "p50", "p95", "p99", "most"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for sort, within in asking.WITHIN.items():
        names = sorted(
            (one.name for one in asking.EVERYTHING if one.sort == sort and one.name in answers.took),
            key=lambda name: -statistics.median(answers.took[name]),
        )
        for name in names:
            table.add_row(*_row(name, sorted(answers.took[name])))
        table.add_row(*_row(f"all of sort {sort}: p95 within {within:g} ms", answers.of_sort(sort)), end_section=True)
    phase = report.phases[1]
    figures = (phase.p50, phase.p99, phase.most)
    table.add_row("deliveries", f"{phase.due:,}", f"{figures[0]:.1f}", "", f"{figures[1]:.1f}", f"{figures[2]:.1f}")
    console.print(table)
    console.print(f"  Deliveries were answered {report.statuses}; wrong answers: {dict(answers.wrong) or 'none'}.")
    print_bounds(console, bounds_of(answers, report))


def bounds_of(answers: Answers, report: Report) -> list[Bound]:
    """Return issue 6's bounds, in ms."""
    found = [
        Bound(f"{sort}: p95, ms", within, [percentile(answers.of_sort(sort), 0.95)], at_most=True)
        for sort, within in asking.WITHIN.items()
        if answers.of_sort(sort)
    ]
    return [*found, Bound("deliveries: p99, ms", DELIVERED, [report.phases[1].p99], at_most=True)]


def _row(name: str, ordered: list[float]) -> tuple[str, ...]:
    if not ordered:
        return name, "0", "", "", "", ""
    figures = (percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0))
    return name, f"{len(ordered):,}", *(f"{one:.1f}" for one in figures)


if __name__ == "__main__":
    sys.exit(main())
