"""So many requests in any window of time."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta


class RateLimit:
    """A sliding window, the strictest reading of "5 requests per minute"."""

    def __init__(self) -> None:
        self._taken: deque[datetime] = deque()

    def used(self, now: datetime, window: float) -> int:
        """How many were granted in the last `window` seconds."""
        while self._taken and self._taken[0] <= now - timedelta(seconds=window):
            self._taken.popleft()
        return len(self._taken)

    def take(self, now: datetime, most: int, window: float) -> bool:
        """Grant one, if fewer than `most` were in the last `window` seconds; `most` 0 is no limit."""
        used = self.used(now, window)
        if most and used >= most:
            return False
        self._taken.append(now)
        return True
