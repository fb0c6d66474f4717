"""How it all is going, over HTTP (DESIGN §8.2): the sources, the totals, what happened when."""

from __future__ import annotations

from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.config.sources import SourceConfig
from receiver.ledger import chores, queries, stats, tallies
from receiver.ledger.query_parts import JsonObject, Row, stamp
from receiver.ledger.records import Trust
from receiver.web.answers import answer, clock, site_of
from receiver.web.auth import needs
from receiver.web.parameters import instant_of, known
from receiver.web.problems import Problem
from receiver.web.site import Site


def routes() -> list[Route]:
    """Return the routes of figures."""
    return [
        Route("/v1/sources", sources, methods=["GET"]),
        Route("/v1/stats", statistics, methods=["GET"]),
    ]


@needs("read")
async def sources(request: Request) -> Response:
    """The configured sources: what is in each, how well its news came in, what holds it up."""
    known(request, ())
    site = site_of(request)
    return answer(site, {"items": await sources_now(site, clock()), "next_cursor": None})


async def sources_now(site: Site, now: datetime) -> list[JsonObject]:
    """Return every configured source with its figures of the last day, by name."""
    configured = site.config.sources
    async with site.database.read() as connection:
        totals = await tallies.totals(connection)
        states = await queries.source_states(connection)
        rejected = await queries.rejected(connection)
        done = {kind: await chores.found(connection, kind) for kind in ("audit", "backfill")}
        due = await queries.due_checks(connection, now)
        offsets = {name: float(row["clock_offset"] or 0.0) for name, row in states.items()}
        horizons = {name: source.habits.retry_horizon for name, source in configured.items()}
        figures = await stats.of_sources(connection, now, horizons, offsets)
    found = []
    for name, source in sorted(configured.items()):
        counts = stats.totals_json(totals.get(name, {}))
        said = figures[name]
        if source.trust in (Trust.NONE, Trust.HINT):  # no delivery of theirs can bring an ending
            said = {**said, "missed": {**said["missed"], "missed": None, "rate": None}}
        found.append(
            {
                "name": name,
                "provider": source.provider,
                "trust": str(source.trust),
                **counts,
                "due": {lane: number for (of, lane), number in due.items() if of == name},
                "paused": _paused(states.get(name)),
                "busy_until": _ahead(states.get(name), "busy_until", now),
                "probes_failed": (states.get(name) or {}).get("probes_failed") or 0,
                "brake_off_until": _ahead(states.get(name), "brake_off_until", now),
                "clock_offset": (states.get(name) or {}).get("clock_offset"),
                "budget": _budget(source, states.get(name), now),
                "rejected": rejected.get(name, {}),
                **{kind: found_by.get(name) for kind, found_by in done.items()},
                "last_day": said,
            }
        )
    return found


def _paused(state: Row | None) -> JsonObject | None:
    if state is None or state["paused_because"] is None:
        return None
    return {
        "because": state["paused_because"],
        "until": stamp(state["paused_until"]),
        "probe_at": stamp(state["probe_at"]),
    }


def _ahead(state: Row | None, name: str, now: datetime) -> str | None:
    """Return an instant that is still to come."""
    at: datetime | None = state[name] if state is not None else None
    return stamp(at) if at is not None and at > now else None


def _budget(source: SourceConfig, state: Row | None, now: datetime) -> JsonObject | None:
    """Return what upstream may be sent and how much of it is used up just now; None without a limit."""
    budget = source.request_budget
    if budget is None:
        return None
    held = (state["requests"] if state is not None else None) or {}
    counted = [(at, number) for at, number, *_ in (*held.get("under_way", {}).values(), *held.get("sent", ()))]
    used = sum(number for at, number in counted if datetime.fromisoformat(at) + budget.per > now)
    return {"limit": str(budget), "used": used, "left": max(budget.requests - used, 0)}


@needs("read")
async def statistics(request: Request) -> Response:
    """Totals as of now, and what happened in each minute or hour of a stretch of time."""
    known(request, {"since", "until", "span", "source"})
    site, now = site_of(request), clock()
    span = request.query_params.get("span", "hour")
    if span not in stats.SPANS:
        raise Problem("bad-filter", f"span must be one of {', '.join(stats.SPANS)}")
    length = stats.SPANS[span]
    until = instant_of(request, "until") or now + length
    usual = stats.DAY if span == "hour" else timedelta(hours=2)
    since = instant_of(request, "since") or until - usual
    if (until - since) / length > stats.MOST_POINTS:
        raise Problem("bad-filter", f"since and until may be {stats.MOST_POINTS} times span apart, at most")
    source = request.query_params.get("source")
    if source is not None and not (0 < len(source) <= 256 and source.isprintable()):
        raise Problem("bad-filter", "source must be 1 to 256 printable characters")
    async with site.database.read() as connection:
        return answer(site, await stats.of_ledger(connection, now, since, until, span, source))
