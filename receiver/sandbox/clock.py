"""The one clock of a sandbox: the machine's, plus an offset that can be set and moved forward."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


class Clock:
    """Wall time plus `skew` seconds. `advance` only moves forward, so that no timestamp is ever taken back."""

    def __init__(self, skew: float = 0.0) -> None:
        self._offset = timedelta(seconds=skew)
        self.started = self.now()

    def now(self) -> datetime:
        """This sandbox's idea of the time: aware, UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        """Jump `seconds` ahead; ValueError when negative."""
        if seconds < 0:
            raise ValueError(f"time moves forward only: {seconds} seconds is negative")
        self._offset += timedelta(seconds=seconds)

    def date_header(self) -> str:
        """The value of an HTTP `Date` header."""
        return format_datetime(self.now().replace(microsecond=0), usegmt=True)


def stamp(at: datetime) -> str:
    """Seven fractional digits and `Z`, as .NET prints them. The seventh is a fixed function of the others, so the
    same instant is always the same text."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}{(at.microsecond * 7 + 3) % 10}Z"


def second_stamp(at: datetime) -> str:
    """Whole seconds and `Z`; the fraction is cut."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def milli_stamp(at: datetime) -> str:
    """Three fractional digits and `Z`; the rest is cut."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def stamp_or_none(at: datetime | None) -> str | None:
    """`stamp`, and None for None."""
    return None if at is None else stamp(at)
