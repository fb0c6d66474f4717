"""The database's clock, read now and then and carried on by this machine's monotonic one.

Leases and wishes are stamped with the database's clock, so the instants at which looks are sent must be too: a machine
whose own clock runs ahead would else count a wish as answered that was made after the look (R15).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class LedgerClock:
    """`now()` is the ledger's time, never ahead of it. Before it was set it is this machine's."""

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._at = time.monotonic()

    def set(self, reading: datetime) -> None:
        """Take over a reading of the database's clock, made a moment ago."""
        self._base, self._at = reading, time.monotonic()

    def now(self) -> datetime:
        """Return the time, aware and UTC."""
        return self._base + timedelta(seconds=time.monotonic() - self._at)
