"""Durations, sizes and budgets as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)\s*", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB|)", re.ASCII)
_BYTES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BUDGET = re.compile(r"(\d+)\s*/\s*(\d{0,6})\s*(s|min|h)", re.ASCII)

_LONGEST = 100 * 365 * 86400  # seconds; far beyond any use, and small enough that instants never overflow
_DURATION_WORDS = 'must be a time such as "90s", "2m", "1h30m" or "90d", or a number of seconds'
_SIZE_WORDS = 'must be a size such as "10 MiB" or "512 KiB", or a number of bytes'
_BUDGET_WORDS = 'must be requests per time such as "5/min", "10/s", "100/h" or "5/10s"'


def duration(value: object) -> timedelta:
    """Read `"1h30m"`, `"0"`, `90` (seconds) or a timedelta. Raises ValueError for all else, negative or endless."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        seconds = _seconds_of(value.strip())
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= _LONGEST else math.inf
    else:
        raise ValueError(_DURATION_WORDS)  # noqa: TRY004 - pydantic makes a message of ValueError alone
    if not 0 <= seconds <= _LONGEST:  # also turns away nan
        raise ValueError(f"{_DURATION_WORDS}, not below zero and at most a hundred years")
    return timedelta(seconds=seconds)


def _seconds_of(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    total, at = 0.0, 0
    while match := _DURATION.match(text, at):
        total += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
    if at == 0 or at != len(text):
        raise ValueError(_DURATION_WORDS)
    return total


def duration_text(value: timedelta) -> str:
    """Return a duration as the file writes it, `1h30m`; the opposite of `duration`."""
    rest = round(value.total_seconds() * 1000)
    if rest == 0:
        return "0"
    if rest < 60_000 and rest % 1000:
        return f"{rest / 1000:g}s" if rest > 1000 else f"{rest}ms"
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text


def positive_duration(value: object) -> timedelta:
    """Read a duration that must not be zero."""
    read = duration(value)
    if not read:
        raise ValueError(f"{_DURATION_WORDS}, longer than zero")
    return read


def size(value: object) -> int:
    """Read `"10 MiB"`, `"10485760"` or a number as bytes. Raises ValueError for anything else, or less than one."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        value = math.floor(float(match[1]) * _BYTES[match[2]]) if len(match[1]) < 16 else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(_SIZE_WORDS)
    return value


def size_text(value: int) -> str:
    """Return a size as the file writes it, `10 MiB`; the opposite of `size`."""
    for unit in ("GiB", "MiB", "KiB"):
        if value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]} {unit}"
    return f"{value} B"


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests an upstream may be sent in a time."""

    requests: int
    per: timedelta

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.per.total_seconds()

    def __str__(self) -> str:
        seconds = int(self.per.total_seconds())
        unit, size = next(one for one in (("h", 3600), ("min", 60), ("s", 1)) if seconds % one[1] == 0)
        return f"{self.requests}/{seconds // size if seconds > size else ''}{unit}"


def budget(value: object) -> Budget:
    """Read `"5/min"`, `"10/s"`, `"100/h"` or `"5/10s"`. Raises ValueError for anything else, or nought."""
    if isinstance(value, Budget):
        return value
    match = _BUDGET.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1][:12]) <= 1_000_000:
        raise ValueError(_BUDGET_WORDS)
    seconds = int(match[2] or 1) * _SECONDS[match[3]]
    if not 0 < seconds <= _SECONDS["d"]:
        raise ValueError(_BUDGET_WORDS)
    return Budget(int(match[1]), timedelta(seconds=seconds))


def _count(value: object) -> object:
    # pydantic takes true for 1; a switch where a number belongs is a mistake worth hearing about.
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 - as above
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(positive_duration)]
Size = Annotated[int, BeforeValidator(size)]
RequestBudget = Annotated[Budget, BeforeValidator(budget)]
Count = Annotated[int, BeforeValidator(_count)]


def _share(value: object) -> object:
    """Take a number, or a text that is one (from the environment), and nothing that merely converts to one."""
    try:
        share = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError("must be a number above 0 and up to 1")
    return share


Share = Annotated[float, BeforeValidator(_share)]
