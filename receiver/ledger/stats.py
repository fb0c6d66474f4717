"""How it all is going, read off the figures: totals, what happened when, how well each source's news comes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import figures, tallies
from receiver.ledger.query_parts import JsonObject, stamp
from receiver.ledger.records import Outcome
from receiver.ledger.states import TERMINAL, Status
from receiver.ledger.tallies import Counts

SPANS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
MOST_POINTS = 1500  # of one series
DAY = timedelta(days=1)
# The last hours are read by the minute, what is older by the hour.
_FINE = timedelta(hours=2)
_VIAS = ("delivery", "look", "track")
_PERCENTILES = (50, 90, 99)


def grouped(counts: Mapping[str, int], group: str, names: Iterable[str] = ()) -> Counts:
    """Return the counts of one group by what follows its name; those of `names` are there even when they are zero."""
    found = dict.fromkeys(map(str, names), 0)
    for name, number in counts.items():
        if name.startswith(f"{group}."):
            found[name.removeprefix(f"{group}.")] = number
    return found


def summed(parts: Iterable[Mapping[str, int]]) -> Counts:
    """Return the sum of counts, name by name."""
    found: Counts = {}
    for one in parts:
        for name, number in one.items():
            found[name] = found.get(name, 0) + number
    return found


def lag_json(counts: Mapping[str, int], offset: float = 0.0) -> JsonObject:
    """Return how long after upstream's own instant endings were known: `count`, and `p50`, `p90`, `p99` in seconds.

    `offset` is by how many seconds upstream's clock is ahead of ours (R18). Percentiles are right to half a bucket,
    which is a fifth of their value.
    """
    buckets = sorted((int(number), count) for number, count in grouped(counts, "lag").items() if count > 0)
    total = sum(count for _, count in buckets)
    found: JsonObject = {"count": total}
    for percent in _PERCENTILES:
        found[f"p{percent}"] = _percentile(buckets, total * percent / 100, offset) if total else None
    return found


def _percentile(buckets: list[tuple[int, int]], wanted: float, offset: float) -> float:
    passed = 0
    for number, count in buckets:
        if passed + count >= wanted:
            low, high = figures.bounds_of(number)
            within = low + (high - low) * (wanted - passed) / count
            return round(max(within + offset, 0.0), 3)
        passed += count
    return round(max(figures.bounds_of(buckets[-1][0])[1] + offset, 0.0), 3)


def point_json(counts: Mapping[str, int], offset: float = 0.0) -> JsonObject:
    """Return what happened in one stretch of time, by name; every name is there."""
    return {
        "created": counts.get("created", 0),
        "ended": grouped(counts, "ended", sorted(TERMINAL)),
        "learned": grouped(counts, "learned", _VIAS),
        "undelivered": counts.get("undelivered", 0),
        "deliveries": grouped(counts, "deliveries", Outcome),
        "contradictions": counts.get("contradictions", 0),
        "retracted": counts.get("retracted", 0),
        "corrected": counts.get("corrected", 0),
        "lag": lag_json(counts, offset),
    }


def totals_json(counts: Mapping[str, int]) -> JsonObject:
    """Return totals as of now: workflows by status, how many of them are open, attention that is open by kind."""
    statuses = grouped(counts, "status", Status)
    ended = sum(statuses[status] for status in TERMINAL)
    attention = {kind: number for kind, number in grouped(counts, "attention").items() if number}
    return {"workflows": statuses, "open": sum(statuses.values()) - ended, "attention": attention}


async def of_ledger(
    connection: AsyncConnection, now: datetime, since: datetime, until: datetime, span: str, source: str | None = None
) -> JsonObject:
    """Return `{"at", "since", "until", "span", "totals", "sources", "series"}`.

    `totals` are of all sources together, `sources` of each by name, `series` what happened in each minute or hour
    (`span`) that begins in [since, until), of all sources or of one, oldest first; those without anything are left out.
    """
    kept = {name: counts for name, counts in (await tallies.totals(connection)).items() if source in (None, name)}
    by_source = await tallies.series(connection, since, until, span, source)
    points: dict[datetime, list[Counts]] = {}
    for series in by_source.values():
        for at, counts in series.items():
            points.setdefault(at, []).append(counts)
    return {
        "at": stamp(now),
        "since": stamp(since),
        "until": stamp(until),
        "span": span,
        "totals": totals_json(summed(kept.values())),
        "sources": {name: totals_json(counts) for name, counts in sorted(kept.items())},
        "series": [{"at": stamp(at), **point_json(summed(points[at]))} for at in sorted(points)],
    }


async def of_sources(
    connection: AsyncConnection, now: datetime, horizons: Mapping[str, timedelta], offsets: Mapping[str, float]
) -> dict[str, JsonObject]:
    """Return how well each source's news came in during the last day: `point_json`, and `missed`, its share.

    `horizons` is for how long each source's upstream tries to deliver an event; an ending counts as missed only after
    that and five minutes (R18), so a source with a long horizon is looked at further back: `missed` says since when.
    """
    waits = {name: horizon + figures.PATIENCE for name, horizon in horizons.items()}
    begin = now - DAY - max(waits.values(), default=timedelta(0))
    edge = (now - _FINE).replace(minute=0, second=0, microsecond=0)
    coarse = await tallies.series(connection, begin, edge, "hour")
    fine = await tallies.series(connection, edge, now + SPANS["minute"], "minute")
    found: dict[str, JsonObject] = {}
    for name, wait in waits.items():
        points = [(at, at + SPANS["hour"], counts) for at, counts in coarse.get(name, {}).items()]
        points += [(at, at + SPANS["minute"], counts) for at, counts in fine.get(name, {}).items()]
        today = summed(counts for at, _, counts in points if at >= now - DAY)
        settled = summed(counts for at, ends, counts in points if now - DAY - wait <= at and ends <= now - wait)
        found[name] = {
            **point_json(today, offsets.get(name, 0.0)),
            "since": stamp(now - DAY),
            "missed": _missed(settled, now - DAY - wait, now - wait),
        }
    return found


def _missed(settled: Mapping[str, int], since: datetime, until: datetime) -> JsonObject:
    ended = sum(grouped(settled, "ended").values())
    missed = settled.get("undelivered", 0)
    rate = round(missed / ended, 4) if ended else None
    return {"since": stamp(since), "until": stamp(until), "endings": ended, "missed": missed, "rate": rate}
