"""How fast one source is asked: requests at once, a budget, pauses upstream asked for, shares for the weak lanes.

All of it is this process's own: two reconcilers have a budget each. (What all must know of a source, that its key is
refused, is in the database: `pauses`.) Instants are seconds of a monotonic clock and always come in as `at`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

from receiver.config import Budget

# No two tries of one round are further apart than this, whatever upstream asks for (DESIGN §9).
LONGEST_WAIT = 30.0
_FIRST_WAIT = 2.0
# Hints prove nothing: of all looks at most one in this many is theirs (R9).
HINT_SHARE = 5


def backoff(attempt: int, rng: Random) -> float:
    """Return the seconds to wait after the failed try number `attempt` (1 is the first): full jitter, 30 at most."""
    return rng.uniform(0.0, min(LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (max(attempt, 1) - 1)))


def within_cap(retry_after: float | None) -> float | None:
    """Return what upstream asked us to wait, as far as we are willing to."""
    return None if retry_after is None else min(retry_after, LONGEST_WAIT)


class RequestWindow:
    """At most `budget.requests` in any stretch of `budget.per`, of which hints get a fifth. No budget: no limit."""

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._sent: deque[tuple[float, bool]] = deque()

    def left(self, at: float) -> int | None:
        """Return how many requests may be sent now; None for any number."""
        if self._budget is None:
            return None
        self._forget(at)
        return max(self._budget.requests - len(self._sent), 0)

    def left_for_hints(self, at: float) -> int | None:
        """Return how many of them may serve hints."""
        if self._budget is None:
            return None
        self._forget(at)
        used = sum(hint for _, hint in self._sent)
        return max(max(self._budget.requests // HINT_SHARE, 1) - used, 0)

    def take(self, at: float, *, hint: bool) -> None:
        """Count one request."""
        if self._budget is not None:
            self._sent.append((at, hint))

    def _forget(self, at: float) -> None:
        assert self._budget is not None
        start = at - self._budget.per.total_seconds()
        while self._sent and self._sent[0][0] <= start:
            self._sent.popleft()


@dataclass(frozen=True, slots=True)
class Slots:
    """How many checks of a source may be claimed now. `earned` hints go first; the rest only take what is left."""

    total: int
    retries: int = 0
    hints: int = 0
    earned: int = 0


NO_SLOTS = Slots(0)


class Pace:
    """One source's pace. What was claimed is told by `started`, what is over by `ended`."""

    def __init__(self, concurrency: int, budget: Budget | None = None) -> None:
        self._concurrency = concurrency
        self._window = RequestWindow(budget)
        self._paused_until = 0.0
        self._running = self._retries = self._hints = 0
        self._credit = 0.0  # hints that may go before everything else: one for each four other looks

    @property
    def running(self) -> int:
        """How many looks are under way."""
        return self._running

    def slots(self, at: float) -> Slots:
        """Return what may be claimed at `at`.

        Checks that have failed before get half of the places at most: work that hangs must not hold up the healthy.
        """
        if at < self._paused_until:
            return NO_SLOTS
        total = self._concurrency - self._running
        left, hints_left = self._window.left(at), self._window.left_for_hints(at)
        if left is not None:
            total = min(total, left)
        if total <= 0:
            return NO_SLOTS
        hints = max(self._concurrency // HINT_SHARE, 1) - self._hints
        if hints_left is not None:
            hints = min(hints, hints_left)
        hints = max(hints, 0)
        retries = max((self._concurrency + 1) // 2 - self._retries, 0)
        return Slots(total, retries, hints, min(int(self._credit), hints))

    def pause(self, at: float, seconds: float) -> None:
        """Send nothing for a while: upstream said that it is too much (429)."""
        self._paused_until = max(self._paused_until, at + min(seconds, LONGEST_WAIT))

    def started(self, at: float, *, hint: bool, retry: bool) -> None:
        """Count a look that is about to be sent."""
        self._window.take(at, hint=hint)
        self._running += 1
        self._hints += hint
        self._retries += retry
        self._credit = max(self._credit - 1, 0.0) if hint else min(self._credit + 1 / (HINT_SHARE - 1), 5.0)

    def ended(self, *, hint: bool, retry: bool) -> None:
        """Count a look that is over."""
        self._running -= 1
        self._hints -= hint
        self._retries -= retry
