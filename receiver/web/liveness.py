"""Whether the loops inside this process still turn: each says so now and then, and `/healthz` listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

# A loop that says nothing for this long is stuck, unless it asked for more.
SILENT_AFTER = timedelta(seconds=60)


@dataclass(slots=True)
class Beats:
    """The last sign of life of each loop, by name. Nothing is expected of a loop that never said anything."""

    _last: dict[str, tuple[datetime, timedelta]] = field(default_factory=dict)

    def beat(self, name: str, now: datetime, *, within: timedelta = SILENT_AFTER) -> None:
        """Say that loop `name` is alive at `now`, and will say so again `within` this time."""
        self._last[name] = (now, within)

    def ended(self, name: str) -> None:
        """Say that a loop has come to its end as it should: nothing more is expected of it."""
        self._last.pop(name, None)

    def silent(self, now: datetime) -> dict[str, float]:
        """Return the loops that have gone silent, each with the seconds since its last sign of life."""
        return {
            name: (now - last).total_seconds()
            for name, (last, within) in sorted(self._last.items())
            if now - last > within
        }
