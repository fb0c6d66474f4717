"""How fast one source is asked by this process: requests at once, pauses upstream asked for, shares for the weak lanes.

What all processes must know of a source is in the database: what is left of its budget (`budgets`), that its key is
refused or that it is too busy (`pauses`). Instants are seconds of a monotonic clock and always come in as `at`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

# No two tries of one round are further apart than this, whatever upstream asks for (DESIGN §9).
LONGEST_WAIT = 30.0
_FIRST_WAIT = 2.0
# Hints prove nothing: of all requests at most one in this many is theirs (R9).
HINT_SHARE = 5


def backoff(attempt: int, rng: Random) -> float:
    """Return the seconds to wait after the failed try number `attempt` (1 is the first): full jitter, 30 at most."""
    return rng.uniform(0.0, min(LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (max(attempt, 1) - 1)))


def within_cap(retry_after: float | None) -> float | None:
    """Return what upstream asked us to wait, as far as we are willing to."""
    return None if retry_after is None else min(retry_after, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Slots:
    """How many requests a source may be sent now. `earned` hints go first; the rest only take what is left.

    `kept` of them are for who waits for an answer; with `wishes_first` those come before everything else. One request
    may answer for up to `bulk` checks, and `alone_first` asks before that for the ones no such request answered for.
    """

    total: int
    retries: int = 0
    hints: int = 0
    earned: int = 0
    kept: int = 0
    wishes_first: bool = False
    bulk: int = 1
    alone_first: bool = False

    def at_most(self, total: int, hints: int | None = None) -> Slots:
        """Return these with no more than `total` requests, of which no more than `hints` are for hints."""
        total = max(min(self.total, total), 0)
        hints = min(self.hints, total if hints is None else hints, total)
        return replace(self, total=total, hints=hints, earned=min(self.earned, hints), retries=min(self.retries, total))


NO_SLOTS = Slots(0)


class Pace:
    """One source's pace. What was claimed is told by `started`, what is over by `ended`."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
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
        if total <= 0:
            return NO_SLOTS
        hints = max(max(self._concurrency // HINT_SHARE, 1) - self._hints, 0)
        retries = max((self._concurrency + 1) // 2 - self._retries, 0)
        return Slots(total, retries, hints, min(int(self._credit), hints))

    def pause(self, at: float, seconds: float) -> None:
        """Send nothing for a while: upstream said that it is too much (429)."""
        self._paused_until = max(self._paused_until, at + min(seconds, LONGEST_WAIT))

    def started(self, *, hint: bool, retry: bool) -> None:
        """Count a look that is about to be sent."""
        self._running += 1
        self._hints += hint
        self._retries += retry
        self._credit = max(self._credit - 1, 0.0) if hint else min(self._credit + 1 / (HINT_SHARE - 1), 5.0)

    def ended(self, *, hint: bool, retry: bool) -> None:
        """Count a look that is over."""
        self._running -= 1
        self._hints -= hint
        self._retries -= retry
