"""The sources: how well each upstream behaves, whether it can be asked, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import overview, queries, stats, tallies
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.records import Outcome
from receiver.ledger.states import TERMINAL, Status
from receiver.ledger.tallies import Counts
from receiver.web.answers import clock, site_of
from receiver.web.api_figures import sources_now
from receiver.web.pages.guarding import page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.problems import Problem

_HOUR, _SPARKS = timedelta(hours=1), 24
# What a chart may show: how far back, in steps of.
RANGES = {
    "3h": (timedelta(hours=3), "minute"),
    "24h": (timedelta(hours=24), "hour"),
    "7d": (timedelta(days=7), "hour"),
    "30d": (timedelta(days=30), "hour"),
}
_ENDINGS = tuple(str(status) for status in Status if status in TERMINAL)
_LAGS = ("p50", "p90", "p99")


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
    first = now.replace(minute=0, second=0, microsecond=0) - _HOUR * (_SPARKS - 1)
    items = await sources_now(site, now)
    async with site.database.read() as connection:
        series = await tallies.series(connection, first, now, "hour")
        last = await overview.last_pass(connection)
        unknown = (await queries.rejected(connection)).get("?", {})
        nav = await opened(connection)
    for one in items:
        one.update(_shares(one["last_day"]))
        one["spark"] = _spark(series.get(one["name"], {}), first)
        one["can_ask"] = site.config.sources[one["name"]].api_key is not None
        one["due_in_all"] = sum(one["due"].values())
    busy = sorted((one for one in items if _is_busy(one)), key=lambda one: (not _troubled(one), one["name"]))
    data = {
        "nav": nav, "items": busy, "idle": [one for one in items if not _is_busy(one)], "last_pass": last,
        "unknown": unknown,
    }  # fmt: skip
    return render(request, "sources.html", data)


@page()
async def source(request: Request) -> Response:
    """One source over time."""
    site, name, now = site_of(request), request.path_params["name"], clock()
    if name not in site.config.sources:
        raise Problem("unknown-source", f"no source is named {name[:64]!r}")
    chosen = request.query_params.get("range", "24h")
    if chosen not in RANGES:
        raise Problem("bad-filter", f"range must be one of {', '.join(RANGES)}")
    back, span = RANGES[chosen]
    step = stats.SPANS[span]
    this = now.replace(minute=now.minute if span == "minute" else 0, second=0, microsecond=0)
    first = this + step - back
    (one,) = [each for each in await sources_now(site, now) if each["name"] == name]
    async with site.database.read() as connection:
        series = (await tallies.series(connection, first, this + step, span, name)).get(name, {})
        nav = await opened(connection)
    data = {
        "nav": nav,
        "s": {**one, **_shares(one["last_day"]), "can_ask": site.config.sources[name].api_key is not None},
        "range": chosen,
        "ranges": list(RANGES),
        "charts": _charts(series, [first + step * n for n in range(int(back / step))], one["clock_offset"] or 0.0),
    }
    return render(request, "source.html", data)


def _troubled(one: JsonObject) -> bool:
    return bool(one["paused"] or one["busy_until"] or one["probes_failed"] or any(one["attention"].values()))


def _is_busy(one: JsonObject) -> bool:
    """Whether there is anything to say of a source: something is open, came in, ended or is wrong."""
    return bool(one["open"] or one["endings"] or one["delivered"] or one["due_in_all"] or _troubled(one))


def _shares(day: JsonObject) -> JsonObject:
    """Return what of a day's figures is told in percent; None where there is nothing to divide by."""
    endings, deliveries = sum(day["ended"].values()), sum(day["deliveries"].values())
    return {
        "endings": endings,
        "failed_share": day["ended"][Status.FAILED] / endings if endings else None,
        "delivered": deliveries,
        "duplicate_share": day["deliveries"][Outcome.DUPLICATE] / deliveries if deliveries else None,
    }


def _spark(series: Mapping[datetime, Counts], first: datetime) -> list[JsonObject]:
    """Return an hour's endings as a bar: heights in percent of the tallest, of which `bad` did not succeed."""
    hours = [stats.grouped(series.get(first + _HOUR * n, {}), "ended", _ENDINGS) for n in range(_SPARKS)]
    most = max(sum(one.values()) for one in hours) or 1
    return [
        {
            "n": n,
            "height": round(sum(one.values()) / most * 100, 1),
            "bad": round((sum(one.values()) - one[Status.SUCCEEDED]) / most * 100, 1),
        }
        for n, one in enumerate(hours)
    ]


def _charts(series: Mapping[datetime, Counts], places: list[datetime], offset: float) -> JsonObject:
    """Return the columns to draw: `x` in seconds since 1970, one value per place and line; a lag is None where nothing
    ended."""
    points = [stats.point_json(series.get(at, {}), offset) for at in places]
    return {
        "x": [int(at.timestamp()) for at in places],
        "endings": {name: [one["ended"][name] for one in points] for name in _ENDINGS},
        "lag": {name: [one["lag"][name] for one in points] for name in _LAGS},
        "deliveries": {str(name): [one["deliveries"][name] for one in points] for name in Outcome},
        "disputes": {name: [one[name] for one in points] for name in ("undelivered", "contradictions", "retracted")},
    }
