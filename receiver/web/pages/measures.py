"""How well an upstream behaves, out of the figures kept of it (`ledger.figures`). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from receiver.ledger.figures import bounds_of
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.states import TERMINAL, Status

Counts = Mapping[str, int]
_PERCENTILES = (50, 90, 99)


def summed(each: Iterable[Counts]) -> dict[str, int]:
    """Return the sum of several counts."""
    found: dict[str, int] = {}
    for counts in each:
        for name, number in counts.items():
            found[name] = found.get(name, 0) + number
    return found


def measure(counts: Counts) -> JsonObject:
    """Return what a span's counts say: `endings`, `missed` (no delivery named the ending in time, R18) and its share,
    `lag` (seconds, by percentile, None when nothing is known), deliveries by outcome with their share of duplicates,
    and disputes."""
    endings = {str(status): counts.get(f"ended.{status}", 0) for status in Status if status in TERMINAL}
    every, missed = sum(endings.values()), counts.get("undelivered", 0)
    prefix = "deliveries."
    outcomes = {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)}
    delivered = sum(outcomes.values())
    return {
        "created": counts.get("created", 0),
        "endings": every,
        "by_status": endings,
        "missed": missed,
        "missed_share": missed / every if every else None,
        "failed_share": endings[Status.FAILED] / every if every else None,
        "lag": {f"p{wanted}": percentile(counts, wanted / 100) for wanted in _PERCENTILES},
        "deliveries": delivered,
        "outcomes": outcomes,
        "duplicate_share": outcomes.get("duplicate", 0) / delivered if delivered else None,
        **{name: counts.get(name, 0) for name in ("contradictions", "retracted", "corrected")},
    }


def percentile(counts: Counts, share: float) -> float | None:
    """Return the lag, in seconds, that this share of endings was learned within; None without any.

    Lags are counted in buckets: the answer is the upper edge of one, so at most half too large, never too small.
    """
    buckets = sorted(
        (int(name.removeprefix("lag.")), number) for name, number in counts.items() if name.startswith("lag.")
    )
    every = sum(number for _, number in buckets)
    if every <= 0:
        return None
    so_far = 0
    for bucket, number in buckets:
        so_far += number
        if so_far >= share * every:
            return max(round(bounds_of(bucket)[1], 2), 0.0)
    return None


def charts(series: Mapping[datetime, Counts], since: datetime, until: datetime, step: timedelta) -> JsonObject:
    """Return the columns to draw: `x` in seconds since 1970, one value per step and line; lags are None where nothing
    ended."""
    count = int((until - since) / step)
    places = [since + step * n for n in range(max(count, 1))]
    each = [series.get(at, {}) for at in places]
    measured = [measure(counts) for counts in each]
    return {
        "x": [int(at.timestamp()) for at in places],
        "endings": {
            name: [one["by_status"][name] for one in measured] for name in map(str, Status) if name in TERMINAL
        },
        "lag": {f"p{wanted}": [one["lag"][f"p{wanted}"] for one in measured] for wanted in _PERCENTILES},
        "deliveries": {
            name: [one["outcomes"].get(name, 0) for one in measured]
            for name in ("applied", "recorded", "duplicate", "hint", "quarantined")
        },
        "missed": {"missed": [one["missed"] for one in measured]},
    }
