"""Instants and spans as people say them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def instant_of(stamp: str) -> datetime:
    """Return the instant that RFC 3339 text names."""
    return datetime.fromisoformat(stamp).astimezone(UTC)


def exact(stamp: str) -> str:
    """Return an instant in full, to the millisecond: `2026-01-21 22:21:26.332 UTC`."""
    at = instant_of(stamp)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def span(seconds: float) -> str:
    """Return a span in its two largest units at most: `0.4 s`, `12 s`, `3 min 20 s`, `2 d 4 h`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s" if seconds % 1 >= 0.05 else f"{seconds:.0f} s"
    for index, (size, unit) in enumerate(_UNITS[:-1]):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller, name = _UNITS[index + 1]
            more = int(rest // smaller)
            return f"{int(whole)} {unit}" + (f" {more} {name}" if more and whole < 10 else "")
    return f"{int(seconds)} s"


def ago(at: datetime, now: datetime) -> str:
    """Return how long before `now` an instant was, or how soon after it will be, in one unit."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size, unit = next(one for one in _UNITS if abs(seconds) >= one[0])
    told = f"{int(abs(seconds) // size)} {unit}"
    return f"{told} ago" if seconds > 0 else f"in {told}"


def between(first: str | None, last: str | None) -> str:
    """Return the span between two instants; a dash when one of them is not known."""
    if first is None or last is None:
        return "—"
    return span((instant_of(last) - instant_of(first)).total_seconds())


def minute(seconds: int) -> str:
    """Return the minute that begins so many seconds after 1970: `2026-01-21 22:21 UTC`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def after(stamp: str, first: str) -> str:
    """Return how long after a first instant another one was: `+1.2 s`; before it, `-1.2 s`."""
    seconds = (instant_of(stamp) - instant_of(first)).total_seconds()
    return f"{'+' if seconds >= 0 else '-'}{span(abs(seconds))}"
