"""Upstream's instants, in every spelling seen, as aware UTC datetimes. Nothing here raises: unreadable is None."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
# .NET writes "never" as 9999-12-31T23:59:59.9999999; arithmetic on it overflows.
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UNIX = re.compile(r"\d{1,11}", re.ASCII)


def instant(value: object) -> datetime | None:
    """Return the instant an RFC 3339 (or ISO 8601, or .NET) text names, or None when it is not one we believe.

    Any number of fractional digits, cut (never rounded) to microseconds: upstream sends seven (UPSTREAMS §1.2.2).
    No offset means UTC. None for other types, other shapes, before 2000 and from 9999 on.
    """
    # `fromisoformat` alone takes week dates, bare days and hours too, which no upstream means as an instant.
    if type(value) is not str or len(value) > 64 or value[4:5] != "-" or value[7:8] != "-" or value[13:14] != ":":
        return None
    try:
        found = datetime.fromisoformat(value if value[-1] != "z" else value[:-1] + "Z")
        if found.tzinfo is not UTC:
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if 2000 <= found.year < 9999 else None


def from_unix(value: object) -> datetime | None:
    """Return the instant of Unix seconds, as a whole number or its decimal digits; None when it is neither."""
    if type(value) is str and _UNIX.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value < 10**11:
        return None
    return believable(_EPOCH + timedelta(seconds=value))


def http_date(value: str | None) -> datetime | None:
    """Return the instant of an HTTP date (`Date`, `Retry-After`), or None when it cannot be read."""
    return None if value is None or len(value) > 64 else _http_date(value)


@lru_cache(maxsize=64)  # answers of one second bear the same
def _http_date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        return believable(found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def rfc3339(moment: datetime) -> str:
    """Return an aware datetime as RFC 3339 text in UTC, ending in `Z`, for use in a request."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def believable(moment: datetime) -> datetime | None:
    """Return an aware instant, or None when it lies before 2000 or from 9999 on."""
    return moment if EARLIEST <= moment < LATEST else None
