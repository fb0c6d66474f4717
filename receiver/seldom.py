"""Log lines for what may happen a thousand times a second, when once a second says all there is to say."""

from __future__ import annotations

import time
from typing import Any

from receiver.logs import log_event

EVERY = 1.0  # seconds between two lines about the same


class Seldom:
    """One kind of event, logged at most once a second; `more` in a line says how many were left out before it."""

    def __init__(self, event: str, *, level: str = "info") -> None:
        self._event, self._level = event, level
        self._last = float("-inf")
        self._more = 0

    def log(self, *, error: BaseException | None = None, **fields: Any) -> None:
        """Log it, or count it for the next line."""
        now = time.monotonic()
        if now - self._last < EVERY:
            self._more += 1
            return
        more, self._more, self._last = self._more, 0, now
        log_event(self._event, level=self._level, error=error, **fields, **({"more": more} if more else {}))
