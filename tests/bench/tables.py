"""What was measured, as tables for people and as JSON, with what limits each figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import machine
from tests.bench.checking import Kept
from tests.bench.measure import Plan, Round, Series
from tests.bench.reconciling import CONCURRENCY, Passes

BASES = {"bare": "bare", "no-store": "no store", "pgbench": "pgbench"}
FULL = 0.85  # of a core, from which on we say that it is full: a share is measured with the warming up


def _of(rounds: Iterable[Round], figure: Callable[[Round], float]) -> list[float]:
    return [figure(one) for one in rounds]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return `median (min..max)`."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}..{high:,.{digits}f})"


def ratios(
    series: Mapping[str, Series], name: str, base: str, figure: Callable[[Round], float] = lambda r: r.load.rate
) -> list[float]:
    """Return the ratio of two figures (by default: rates) in each round."""
    pairs = zip(series[name].rounds, series[base].rounds, strict=True)
    return [figure(mine) / max(figure(theirs), 1e-9) for mine, theirs in pairs]


def print_deliveries(console: Console, series: Mapping[str, Series], kept: Mapping[str, Kept], plan: Plan) -> None:
    """Print rates, ratios, costs and memory of the receivers."""
    console.print(
        f"{plan.rounds} rounds of {plan.seconds:g} s per contender in turn, {plan.connections} keep-alive connections,"
        f" {machine.cores()} cores shared with the load (and the database). Medians with (least..most) over rounds;"
        " each ratio is taken within a round, and its median is the median of these.",
        highlight=False,
    )
    table = Table(title="Deliveries")
    for column in ("", "per second", "p50 ms", "p99 ms", "p99.9 ms", *(f"of {BASES[base]}" for base in BASES)):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, one in series.items():
        table.add_row(
            one.contender.kind.title,
            spread(_of(one.rounds, lambda r: r.load.rate)),
            spread(_of(one.rounds, lambda r: r.load.p50), 1),
            spread(_of(one.rounds, lambda r: r.load.p99), 1),
            f"{statistics.median(_of(one.rounds, lambda r: r.load.p999)):.1f}",
            *(_ratio(series, name, base) for base in BASES),
        )
    console.print(table)
    _print_costs(console, series)
    _print_memory(console, series)
    for one in series.values():
        console.print(f"  {one.contender.kind.title}: {limit_of(one)}", highlight=False)
    for name, found in kept.items():
        console.print(f"  {series[name].contender.kind.title}: {kept_line(found)}", highlight=False)


def _ratio(series: Mapping[str, Series], name: str, base: str) -> str:
    if base not in series:
        return ""
    return "1" if name == base else spread(ratios(series, name, base), 3 if base == "bare" else 2)


def _print_costs(console: Console, series: Mapping[str, Series]) -> None:
    table = Table(title="What a delivery costs, and who was busy (1.00 = one core)")
    columns = ("", "server µs", "database µs", "written B", "of it WAL B", "store grows B")
    for column in (*columns, "server", "database", "load", "others"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for one in series.values():
        table.add_row(
            one.contender.kind.title,
            spread(_of(one.rounds, lambda r: r.server_cpu)) if one.contender.pid else "",
            spread(_of(one.rounds, lambda r: r.database_cpu)) if one.contender.server else "",
            _bytes(one, lambda r: r.written),
            _bytes(one, lambda r: r.wal),
            _bytes(one, lambda r: r.grown),
            f"{_share(one, lambda r: r.server_share):.2f}" if one.contender.pid else "",
            f"{_share(one, lambda r: r.database_share):.2f}" if one.contender.server else "",
            f"{_share(one, lambda r: r.load_share):.2f}",
            f"{_share(one, lambda r: r.others_share):.2f}",
        )
    console.print(table)
    console.print(
        "  CPU is user and kernel time of the processes. Written: what the database's processes, or the server with its"
        " SQLite, wrote to files. Others: all else on this machine; near 0, or the figures are of a busy machine.",
        highlight=False,
    )


def _bytes(series: Series, figure: Callable[[Round], float | None]) -> str:
    found = [value for value in map(figure, series.rounds) if value is not None]
    return f"{statistics.median(found):,.0f}" if found else ""


def _print_memory(console: Console, series: Mapping[str, Series]) -> None:
    table = Table(title="Memory of the server's processes, MiB resident, by seconds of load")
    for column in ("", "at the start", "after 10 s", "after 60 s", "at the end", "at most", "seconds", "deliveries"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for one in series.values():
        if not one.memory:
            continue
        after = [one.memory_after(seconds) for seconds in (10, 60)]
        table.add_row(
            one.contender.kind.title,
            f"{one.memory[0][1]:.0f}",
            *(f"{size:.0f}" if size is not None else "" for size in after),
            f"{one.memory[-1][1]:.0f}",
            f"{max(size for _, size in one.memory):.0f}",
            f"{one.loaded:.0f}",
            f"{one.sent:,}",
        )
    console.print(table)


def _share(series: Series, figure: Callable[[Round], float]) -> float:
    return statistics.median(_of(series.rounds, figure))


def limit_of(series: Series) -> str:
    """Return a sentence that says what kept the rate from being higher."""
    server, load = _share(series, lambda r: r.server_share), _share(series, lambda r: r.load_share)
    database, others = _share(series, lambda r: r.database_share), _share(series, lambda r: r.others_share)
    cost = _share(series, lambda r: r.server_cpu)
    if load >= FULL:
        return f"the load generator is the limit ({load:.2f} of a core): the server could do more."
    if server >= FULL * series.contender.kind.processes:
        return f"the server's own core is the limit: {cost:.0f} µs of it per delivery ({server:.2f} of a core)."
    if server + database + load + others >= 0.8 * machine.cores():
        return (
            f"all {machine.cores()} cores are taken: server {server:.2f}, database {database:.2f}, load {load:.2f},"
            f" other work {others:.2f}; the server itself has {cost:.0f} µs to spend per delivery."
        )
    if not series.contender.database:
        return f"no core is full (server {server:.2f}, load {load:.2f}): the two wait for each other's wake-ups."
    return (
        f"no core is full (server {server:.2f}, database {database:.2f}): the rest is waiting for each commit to reach"
        f" the disk and for round trips; without that {1e6 / max(cost, 1e-9):,.0f}/s would be the server's own limit."
    )


def kept_line(kept: Kept) -> str:
    """Return a sentence that says whether the ledger kept its word."""
    verdict = "every one is stored once"
    if not kept.sound:
        verdict = (
            f"WRONG: {kept.missing} missing, {kept.doubled} stored twice, {kept.unread} not understood,"
            f" {kept.counted:,} counted"
        )
    return f"{kept.acknowledged:,} deliveries answered 200, {kept.bodies:,} different ones: {verdict}."


def print_passes(console: Console, passes: Mapping[str, Passes]) -> None:
    """Print the reconciler's figures."""
    table = Table(title="Reconcile: one pass over workflows that must all be looked at")
    columns = (
        "",
        "looks/s",
        "bare GET loop/s",
        "of bare",
        "upstream busy",
        "(bare)",
        "memory MiB",
        "looks",
        "not seen",
    )
    for column in columns:
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, found in passes.items():
        table.add_row(
            f"reconcile --open, {'SQLite' if name == 'sqlite' else 'PostgreSQL'}",
            spread([one.rate for one in found.rounds]),
            spread([one.bare_rate for one in found.rounds]),
            spread([one.rate / one.bare_rate for one in found.rounds], 2),
            f"{statistics.median(one.upstream_share for one in found.rounds):.2f}",
            f"{statistics.median(one.bare_upstream_share for one in found.rounds):.2f}",
            f"{max(one.memory for one in found.rounds):.0f}",
            f"{statistics.median(one.shown for one in found.rounds):.0f}",
            f"{sum(one.unseen for one in found.rounds)} of {found.workflows * len(found.rounds)}",
        )
    console.print(table)
    busiest = min(
        (statistics.median(one.bare_upstream_share for one in found.rounds) for found in passes.values()), default=0.0
    )
    limit = "the stand-in upstream (one Python process) limits it" if busiest >= 0.8 else "its own client limits it"
    console.print(
        f"  {CONCURRENCY} requests at once. The bare loop fetches and decodes the same documents and keeps nothing;"
        f" {limit}. What the pass is below it goes to claiming, reading, merging and committing: the reconciler's own"
        " core and its round trips to the database.",
        highlight=False,
    )


def as_json(series: Mapping[str, Series], kept: Mapping[str, Kept]) -> dict[str, Any]:
    """Return everything measured of the contenders, round by round."""
    told: dict[str, Any] = {}
    for name, one in series.items():
        told[name] = {
            "title": one.contender.kind.title,
            "rounds": [asdict(each) for each in one.rounds],
            "of": {base: ratios(series, name, base) for base in BASES if base in series and base != name},
            "memory": one.memory,
            "kept": asdict(kept[name]) | {"sound": kept[name].sound} if name in kept else None,
            "limit": limit_of(one),
        }
    return told
