"""How fast one source is asked by this process: requests at once, pauses upstream asked for, shares for the weak lanes.

What all processes must know of a source is in the database: what is left of its budget (`budgets`), that its key is
refused or that it is too busy (`pauses`). Instants are seconds of a monotonic clock and always come in as `at`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from random import Random
from typing import Self

from reconciler.lanes import Turns

# No two tries of one round are further apart than this, whatever upstream asks for (DESIGN §9).
LONGEST_WAIT = 30.0
_FIRST_WAIT = 2.0
# Hints prove nothing: of all requests at most one in this many is theirs (R9).
HINT_SHARE = 5
# Checks are claimed for this many seconds of work ahead, if upstream answers more than so often a second on each place.
_AHEAD = 0.5
_MOST_AHEAD = 512
_FAST = 4.0
_MEASURED_FOR = 0.1


def backoff(attempt: int, rng: Random) -> float:
    """Return the seconds to wait after the failed try number `attempt` (1 is the first): full jitter, 30 at most."""
    return rng.uniform(0.0, min(LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (max(attempt, 1) - 1)))


def within_cap(retry_after: float | None) -> float | None:
    """Return what upstream asked us to wait, as far as we are willing to."""
    return None if retry_after is None else min(retry_after, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Slots:
    """How many requests a source may be claimed now, and how they are shared.

    Of `total`, no more than `retries` are for checks whose round has failed before, no more than `hints` for hints, and
    `kept` are for who waits for an answer. `turns` says how many each lane gets. One request may answer for up to
    `bulk` checks, and `alone_first` asks before that for the ones no such request answered for.
    """

    total: int
    retries: int = 0
    hints: int = 0
    kept: int = 0
    bulk: int = 1
    alone_first: bool = False
    turns: Turns = field(default_factory=Turns)

    def at_most(self, total: int, hints: int | None = None) -> Slots:
        """Return these with no more than `total` requests, of which no more than `hints` are for hints."""
        total = max(min(self.total, total), 0)
        hints = min(self.hints, total if hints is None else hints, total)
        return replace(self, total=total, hints=hints, retries=min(self.retries, total))


NO_SLOTS = Slots(0)


@dataclass(frozen=True, slots=True)
class Part:
    """How many requests this process may have under way, how many of them for what has failed before, and for hints."""

    places: int
    retries: int
    hints: int

    @classmethod
    def whole(cls, concurrency: int) -> Self:
        """Return the part of who shares with nobody.

        Checks that have failed before get half of the places at most: work that hangs must not hold up the healthy.
        """
        return cls(concurrency, (concurrency + 1) // 2, max(concurrency // HINT_SHARE, 1))


NO_PART = Part(0, 0, 0)


class Pace:
    """One source's pace: looks are `claimed`, `started` when there is a place for them, and `ended` when answered.

    `part` is what this process has of the source's `concurrency` (all, until it shares it: `places`), and `here_until`
    until when others believe it to use that. Who has no place hopes for one: only a claim can tell if there is one.

    Where upstream answers fast, checks are claimed ahead of the places there are: a claim is a transaction, and takes
    longer than such an answer.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.part = Part.whole(concurrency)
        self.here_until = math.inf
        self._paused_until = 0.0
        self._running = self._waiting = self._retries = self._hints = 0
        self._ahead = 0
        self._ended = 0
        self._counted_at: float | None = None
        self.turns = Turns()

    @property
    def running(self) -> int:
        """How many looks are under way."""
        return self._running

    @property
    def begun(self) -> int:
        """How many looks are under way, or wait for their place."""
        return self._running + self._waiting

    def free(self, at: float) -> bool:
        """Whether another look may be started at `at`."""
        return self._running < self.part.places and at < self.here_until

    @property
    def hungry(self) -> bool:
        """Whether it is time to claim more."""
        return self._room(self.part) > 0

    def slots(self, at: float, part: Part | None = None) -> Slots:
        """Return what may be claimed at `at`; with `part`, when that is this process's from now on."""
        self._measure(at)
        part = self.part if part is None else part
        room = self._room(part)
        if at < self._paused_until or room <= 0:
            return NO_SLOTS
        return Slots(room, max(part.retries - self._retries, 0), max(part.hints - self._hints, 0), turns=self.turns)

    def _room(self, part: Part) -> int:
        """Return how many looks may be claimed; none as long as more than half of what was claimed ahead waits."""
        return 0 if self._waiting > self._ahead // 2 else max(part.places, 1) + self._ahead - self.begun

    def _measure(self, at: float) -> None:
        """Work out how far ahead to claim: what is answered in half a second, and nothing where answers take long."""
        if self._counted_at is None:
            self._counted_at = at
        elapsed = at - self._counted_at
        if elapsed < _MEASURED_FOR:
            return
        rate = self._ended / elapsed
        self._ahead = min(int(rate * _AHEAD), _MOST_AHEAD) if rate >= _FAST * max(self.part.places, 1) else 0
        self._ended, self._counted_at = 0, at

    def pause(self, at: float, seconds: float) -> None:
        """Send nothing for a while: upstream said that it is too much (429)."""
        self._paused_until = max(self._paused_until, at + min(seconds, LONGEST_WAIT))

    def paused(self, at: float) -> bool:
        """Whether nothing may be sent just now."""
        return at < self._paused_until

    def claimed(self, *, hint: bool = False, retry: bool = False) -> None:
        """Count a look that waits for its place."""
        self._waiting += 1
        self._hints += hint
        self._retries += retry

    def started(self) -> None:
        """Count a look that has got its place."""
        self._waiting -= 1
        self._running += 1

    def returned(self, *, hint: bool = False, retry: bool = False) -> None:
        """Count a look that will not be made: it waited too long for its place."""
        self._waiting -= 1
        self._hints -= hint
        self._retries -= retry

    def ended(self, *, hint: bool = False, retry: bool = False) -> None:
        """Count a look that has been answered."""
        self._running -= 1
        self._hints -= hint
        self._retries -= retry
        self._ended += 1
