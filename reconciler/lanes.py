"""Whose turn it is: each lane of a source has a guaranteed share of its requests, and idle ones lend theirs. Pure."""

from __future__ import annotations

from collections.abc import Collection

# Of ten requests, when all lanes have that much to do. Hints prove nothing and never get more than R9 allows (`pace`).
WEIGHTS = {"interactive": 4, "fresh": 3, "standing": 2, "hints": 1}
# In which order lanes are served that have waited equally long, and borrow what others leave.
URGENCY = tuple(WEIGHTS)
# A lane that could not take its turns (all its work is on its way) may make up for this many rounds of ten at most.
_MOST_OWED = 1.0


class Turns:
    """Stride scheduling: every request moves its lane ahead by 1/weight, and the lane that is furthest behind is next.

    Kept by each process for each source for as long as it runs, so that even a budget of one request at a time is
    shared as the weights say.
    """

    def __init__(self) -> None:
        self._at = dict.fromkeys(WEIGHTS, 0.0)
        self._busy: frozenset[str] = frozenset()

    def took(self, lane: str, requests: float = 1.0) -> None:
        """Count requests of a lane, or its part of one that serves several."""
        self._at[lane] += requests / (10 * WEIGHTS[lane])

    def split(self, total: int, lanes: Collection[str]) -> dict[str, int]:
        """Return how many of `total` requests each of these lanes gets, if it has that much to do.

        Those that have nothing to do are not among `lanes`, and save nothing up for later.
        """
        if not lanes:
            return {}
        self._forgive(lanes)
        at = {lane: self._at[lane] for lane in URGENCY if lane in lanes}
        shares = dict.fromkeys(at, 0)
        for _ in range(total):
            lane = min(at, key=lambda one: at[one])  # the first of equals is the most urgent
            shares[lane] += 1
            at[lane] += 1 / (10 * WEIGHTS[lane])
        return shares

    def _forgive(self, lanes: Collection[str]) -> None:
        """Let lanes that were idle begin where the others are, and owe none more than it can make up for soon."""
        begin = min((self._at[lane] for lane in self._busy), default=0.0)
        owed = max(self._at[lane] for lane in lanes) - _MOST_OWED
        for lane in lanes:
            self._at[lane] = max(self._at[lane], owed, self._at[lane] if lane in self._busy else begin)
        self._busy = frozenset(lanes)
