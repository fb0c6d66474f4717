"""The sources: how well each upstream behaves, whether it can be asked, and what stands in the way."""

from __future__ import annotations

from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.config.sources import SourceConfig
from receiver.ledger import overview, queries, tallies
from receiver.ledger.query_parts import JsonObject, Row, stamp
from receiver.ledger.states import TERMINAL
from receiver.web.answers import clock, site_of
from receiver.web.pages.guarding import page
from receiver.web.pages.measures import charts, measure, summed
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.problems import Problem

_LATELY = timedelta(hours=24)
_SPARKS = 24
# What a chart may show: how far back, in steps of.
RANGES = {
    "3h": (timedelta(hours=3), "minute", timedelta(minutes=1)),
    "24h": (timedelta(hours=24), "hour", timedelta(hours=1)),
    "7d": (timedelta(days=7), "hour", timedelta(hours=1)),
    "30d": (timedelta(days=30), "hour", timedelta(hours=1)),
}


def routes() -> list[Route]:
    """Return the routes of sources."""
    return [
        Route("/sources", sources, methods=["GET"]),
        Route("/sources/{name}", source, methods=["GET"]),
    ]


@page()
async def sources(request: Request) -> Response:
    """Every configured source, with its figures of the last day."""
    site, now = site_of(request), clock()
    since = _hour(now) - _LATELY + timedelta(hours=1)
    async with site.database.read() as connection:
        totals = await tallies.totals(connection)
        series = await tallies.series(connection, since, now, "hour")
        states = await queries.source_states(connection)
        due = await overview.due_by_source(connection, now)
        turned_away = await overview.rejections_by_source(connection)
        last = await overview.last_pass(connection)
        nav = await opened(connection)
    items = [
        {
            **_facts(name, one, states.get(name), now),
            **measure(summed(series.get(name, {}).values())),
            "spark": _spark(series.get(name, {}), since),
            "open": _open(totals.get(name, {})),
            "attention": {
                k.partition(".")[2]: n for k, n in totals.get(name, {}).items() if k.startswith("attention.")
            },
            "due": due.get(name, 0),
            "turned_away": turned_away.get(name, {}),
        }
        for name, one in sorted(site.config.sources.items())
    ]
    data = {"nav": nav, "items": items, "last_pass": last, "unknown": turned_away.get("?", {})}
    return render(request, "sources.html", data)


@page()
async def source(request: Request) -> Response:
    """One source over time."""
    site, name, now = site_of(request), request.path_params["name"], clock()
    one = site.config.sources.get(name)
    if one is None:
        raise Problem("unknown-source", f"no source is named {name[:64]!r}")
    chosen = request.query_params.get("range", "24h")
    if chosen not in RANGES:
        raise Problem("bad-filter", f"range must be one of {', '.join(RANGES)}")
    back, span, step = RANGES[chosen]
    until = (_hour(now) if span == "hour" else now.replace(second=0, microsecond=0)) + step
    since = until - back
    async with site.database.read() as connection:
        found = (await tallies.series(connection, since, until, span, name)).get(name, {})
        totals = (await tallies.totals(connection)).get(name, {})
        states = await queries.source_states(connection)
        turned_away = await overview.rejections_by_source(connection)
        nav = await opened(connection)
    data = {
        "nav": nav,
        "s": {**_facts(name, one, states.get(name), now), **measure(summed(found.values())), "open": _open(totals)},
        "turned_away": turned_away.get(name, {}),
        "range": chosen,
        "ranges": list(RANGES),
        "charts": charts(found, since, until, step),
    }
    return render(request, "source.html", data)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _under(prefix: str, totals: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in totals.items() if name.startswith(prefix)}


def _open(totals: dict[str, int]) -> int:
    return sum(n for status, n in _under("status.", totals).items() if status not in TERMINAL)


def _spark(series: dict[datetime, dict[str, int]], since: datetime) -> list[JsonObject]:
    """Return an hour's endings as a bar: heights in percent of the tallest, of which `bad` are failures."""
    hours = [measure(series.get(since + timedelta(hours=n), {})) for n in range(_SPARKS)]
    most = max((one["endings"] for one in hours), default=0) or 1
    return [
        {
            "n": n,
            "height": round(one["endings"] / most * 100, 1),
            "bad": round((one["endings"] - one["by_status"]["succeeded"]) / most * 100, 1),
        }
        for n, one in enumerate(hours)
    ]


def _facts(name: str, one: SourceConfig, state: Row | None, now: datetime) -> JsonObject:
    """Return what is configured of a source, and what reconcilers remember of it."""
    budget = one.request_budget
    busy = state["busy_until"] if state is not None else None
    return {
        "name": name,
        "provider": one.provider,
        "trust": str(one.trust),
        "can_ask": one.api_key is not None,
        "budget": None if budget is None else {"requests": budget.requests, "per": budget.per.total_seconds()},
        "sent": None if budget is None or state is None else _sent(state["requests"], now - budget.per),
        "paused": None if state is None else state["paused_because"],
        "probe_at": None if state is None else stamp(state["probe_at"]),
        "busy_until": stamp(busy) if busy is not None and busy > now else None,
        "clock_offset": None if state is None else state["clock_offset"],
    }


def _sent(kept: JsonObject | None, since: datetime) -> int:
    """Return how many requests count against the budget now (written by `reconciler.budgets`)."""
    held = kept or {}
    sent: int = sum(number for at, number, _ in held.get("sent", []) if datetime.fromisoformat(at) > since)
    on_its_way: int = sum(one[1] for one in held.get("under_way", {}).values())
    return sent + on_its_way
