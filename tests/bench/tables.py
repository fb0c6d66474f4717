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

NAMES = {
    "bare": "bare ASGI app: reads, answers 204",
    "no-store": "our server, store taken out",
    "sqlite": "hookledger serve, SQLite",
    "postgresql": "hookledger serve, PostgreSQL",
}
FULL = 0.85  # of a core, from which on we say that it is full: a share is measured with the warming up


def _of(rounds: Iterable[Round], figure: Callable[[Round], float]) -> list[float]:
    return [figure(one) for one in rounds]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return `median (min..max)`."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}..{high:,.{digits}f})"


def ratios(series: Mapping[str, Series], name: str, base: str) -> list[float]:
    """Return the ratio of two rates in each round."""
    pairs = zip(series[name].rounds, series[base].rounds, strict=True)
    return [mine.load.rate / theirs.load.rate for mine, theirs in pairs]


def print_deliveries(console: Console, series: Mapping[str, Series], kept: Mapping[str, Kept], plan: Plan) -> None:
    """Print rates, ratios, costs and memory of the receivers."""
    size = statistics.mean(one.load.mean_body for each in series.values() for one in each.rounds)
    console.print(
        f"{plan.rounds} rounds of {plan.seconds:g} s per contender in turn, {plan.connections} keep-alive connections,"
        f" {machine.cores()} cores shared with the load (and the database); deliveries of {size:.0f} bytes on average,"
        " a fifth of them duplicates. Medians with (least..most) over rounds; ratios are taken within a round."
    )
    table = Table(title="Deliveries")
    for column in ("", "per second", "p50 ms", "p99 ms", "of bare", "of no store"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, one in series.items():
        bare = spread(ratios(series, name, "bare"), 3) if name != "bare" else "1"
        storeless = spread(ratios(series, name, "no-store"), 2) if name not in ("bare", "no-store") else ""
        table.add_row(
            NAMES[name],
            spread(_of(one.rounds, lambda r: r.load.rate)),
            spread(_of(one.rounds, lambda r: r.load.p50), 1),
            spread(_of(one.rounds, lambda r: r.load.p99), 1),
            bare,
            storeless if name != "no-store" else "1",
        )
    console.print(table)
    _print_costs(console, series)
    _print_memory(console, series)
    for name, one in series.items():
        console.print(f"  {NAMES[name]}: {limit_of(one)}", highlight=False)
    for name, found in kept.items():
        console.print(f"  {NAMES[name]}: {kept_line(found)}", highlight=False)


def _print_costs(console: Console, series: Mapping[str, Series]) -> None:
    table = Table(title="What a delivery costs, and who was busy (1.00 = one core)")
    columns = ("", "server µs", "database µs", "written B", "ledger grows B", "server", "database", "load", "others")
    for column in columns:
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, one in series.items():
        stores = name in ("sqlite", "postgresql")
        table.add_row(
            NAMES[name],
            spread(_of(one.rounds, lambda r: r.server_cpu)),
            spread(_of(one.rounds, lambda r: r.database_cpu)) if name == "postgresql" else "",
            f"{statistics.median(_of(one.rounds, lambda r: r.written or 0)):,.0f}" if stores else "",
            f"{statistics.median(_of(one.rounds, lambda r: r.grown or 0)):,.0f}" if stores else "",
            f"{_share(one, lambda r: r.server_share):.2f}",
            f"{_share(one, lambda r: r.database_share):.2f}" if name == "postgresql" else "",
            f"{_share(one, lambda r: r.load_share):.2f}",
            f"{_share(one, lambda r: r.others_share):.2f}",
        )
    console.print(table)
    console.print(
        "  CPU is user and kernel time of the process. Written: what the SQLite process sent to disk, or PostgreSQL's"
        " WAL. Others: all else on this machine; near 0, or the figures are of a busy machine.",
        highlight=False,
    )


def _print_memory(console: Console, series: Mapping[str, Series]) -> None:
    table = Table(title="Memory of the server process, MiB resident")
    for column in ("", "at the start", "after 10 s of load", "at the end", "at most", "deliveries by then"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, one in series.items():
        after = f"{one.after_10s:.0f}" if one.after_10s is not None else f"(only {one.loaded:.0f} s)"
        total = sum(each.load.answers for each in one.rounds)
        table.add_row(
            NAMES[name], f"{one.at_start:.0f}", after, f"{one.at_end:.0f}", f"{one.at_most:.0f}", f"{total:,}"
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
    if server >= FULL:
        return f"one core of the server is the limit: {cost:.0f} µs of it per delivery ({server:.2f} of a core)."
    if server + database + load + others >= 0.8 * machine.cores():
        return (
            f"all {machine.cores()} cores are taken: server {server:.2f}, database {database:.2f}, load {load:.2f},"
            f" other work {others:.2f}; the server itself has {cost:.0f} µs to spend per delivery."
        )
    if series.contender.database is None:
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


def as_json(
    series: Mapping[str, Series], kept: Mapping[str, Kept], passes: Mapping[str, Passes], plan: Plan
) -> dict[str, Any]:
    """Return everything measured, round by round."""
    told: dict[str, Any] = {"plan": asdict(plan), "cores": machine.cores(), "contenders": {}, "reconcile": {}}
    for name, one in series.items():
        told["contenders"][name] = {
            "rounds": [asdict(each) for each in one.rounds],
            "of": {base: ratios(series, name, base) for base in ("bare", "no-store") if name not in (base, "bare")},
            "memory": {
                "start": one.at_start, "after_10s": one.after_10s, "end": one.at_end, "most": one.at_most,
            },
            "kept": asdict(kept[name]) | {"sound": kept[name].sound} if name in kept else None,
            "limit": limit_of(one),
        }  # fmt: skip
    for name, found in passes.items():
        told["reconcile"][name] = asdict(found) | {"sound": found.sound}
    return told
