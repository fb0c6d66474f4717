"""How long workflows take, learned from those that have ended, and when it pays to look at one that has not. Pure.

What is kept is a histogram over the logarithm of the duration: a few dozen numbers per source, model and type of step,
however many workflows have ended. The older a reading, the less it weighs.

When to look: a look costs a read, and not looking costs the time an ending stays unknown, if no delivery tells of it. A
few seconds matter to nobody and minutes to everybody, so that time counts by its square. For inspections of something
that ends at rate h(t) the cost is then least where they lie `(3 c / (p h(t))) ^ 1/3` apart: c is what a read costs, p
how often no delivery comes. So the next look is where the integral of `(p h / 3c) ^ 1/3` from now on reaches one: soon
where many end, late where hardly any do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

# Four buckets for each doubling: a bucket's ends are 19 % apart. The last one begins at two days.
_PER_DOUBLING = 4
_LAST = 70
# A histogram forgets once it weighs this much: what comes in after it replaces what was there.
MOST_WEIGHT = 400.0
# Below this weight nothing is said: upstream's advice is worth more than a handful of endings.
ENOUGH = 12.0
# What one read costs, in square seconds of not knowing. Chosen by tests/bench/fidelity.
READ_COST = 13.0
# And one that answers for many, in seconds of not knowing one ending.
COST_TOGETHER = 2.7
_ON_ITS_WAY = 30.0
# Over how many seconds the rate of endings is taken.
_LATELY = 1800.0
# What is assumed of a source's deliveries before any came: one in ten is missed, as if ten endings had shown it.
_PRIOR_MISSED, _PRIOR = 1.0, 10.0
# Reads that answer for many are this many seconds apart.
CLOSEST_TOGETHER, FARTHEST_TOGETHER = 5.0, 40.0
# A workflow no delivery ever told of is less likely to be told of than the others.
SILENT_MISS = 0.1


def bucket_of(seconds: float) -> int:
    """Return the bucket a duration falls into."""
    return min(max(math.floor(math.log2(max(seconds, 1.0)) * _PER_DOUBLING), 0), _LAST)


def _begin(bucket: int) -> float:
    return 0.0 if bucket <= 0 else float(2.0 ** (bucket / _PER_DOUBLING))


_BEGINS = tuple(_begin(bucket) for bucket in range(_LAST + 2))


@dataclass(slots=True)
class Durations:
    """What is known of one kind of workflow. `counts` weighs its endings by bucket; `told` and `missed` are endings
    that a delivery told of, and that none did (R18), `rate` how many there were a second, of late."""

    counts: dict[int, float] = field(default_factory=dict)
    told: float = 0.0
    missed: float = 0.0
    rate: float = 0.0

    @classmethod
    def of(cls, seconds: float) -> Self:
        """Return what one ending shows. Its neighbours may well take as long, so they get a part of its weight."""
        at = bucket_of(seconds)
        counts: dict[int, float] = {}
        for near, part in ((at - 1, 0.25), (at, 0.5), (at + 1, 0.25)):
            bucket = min(max(near, 0), _LAST)
            counts[bucket] = counts.get(bucket, 0.0) + part
        return cls(counts)

    def note_teller(self, *, delivered: bool, late: float) -> None:
        """Count whether a delivery told of this ending.

        A look that was first, `late` seconds after it happened, may have been quicker than a delivery that was on its
        way: then it counts half.
        """
        missed = 0.0 if delivered else 1.0 if late >= _ON_ITS_WAY else 0.5
        self.told, self.missed = self.told + 1 - missed, self.missed + missed

    @property
    def weight(self) -> float:
        """How much is known."""
        return sum(self.counts.values())

    @property
    def miss_rate(self) -> float:
        """How many endings no delivery tells of, as far as is known: 0 to 1."""
        return (self.missed + _PRIOR_MISSED) / (self.told + self.missed + _PRIOR)

    def add(self, other: Durations) -> None:
        """Take in newer readings; beyond MOST_WEIGHT the older ones fade."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0.0) + count
        self.told, self.missed = self.told + other.told, self.missed + other.missed
        if (weight := self.weight) > MOST_WEIGHT:
            self.counts = {bucket: count * MOST_WEIGHT / weight for bucket, count in self.counts.items()}
        if (endings := self.told + self.missed) > MOST_WEIGHT:
            self.told, self.missed = self.told * MOST_WEIGHT / endings, self.missed * MOST_WEIGHT / endings

    def pass_time(self, seconds: float, endings: float) -> None:
        """Take in how many endings there were in the last `seconds`."""
        kept = math.exp(-seconds / _LATELY)
        self.rate = self.rate * kept + (endings / seconds) * (1 - kept) if seconds > 0 else self.rate

    def surviving(self, age: float) -> float:
        """Return the weight of what takes longer than `age` seconds."""
        at = bucket_of(age)
        left = sum(count for bucket, count in self.counts.items() if bucket > at)
        width = _BEGINS[at + 1] - _BEGINS[at]
        return left + self.counts.get(at, 0.0) * min(max((_BEGINS[at + 1] - age) / width, 0.0), 1.0)

    def ended_by(self, age: float, later: float) -> float | None:
        """Return which share of those alive at `age` has ended by `later` (seconds); None when none lived so long."""
        alive = self.surviving(age)
        return 1 - self.surviving(later) / alive if alive > 0 else None

    def next_look(self, age: float, miss: float, cost: float = READ_COST) -> float | None:
        """Return after how many seconds from `age` on to look; None when nothing is known of workflows that old.

        `miss` is how likely no delivery tells of the ending, `cost` what a read costs in square seconds of not knowing.
        """
        alive = self.surviving(age)
        if alive < 1.0:
            return None
        done = 0.0
        since = age
        for bucket in range(bucket_of(age), _LAST + 1):
            end = _BEGINS[bucket + 1]
            span = max(end - since, 0.0)
            after = self.surviving(end)
            ending = alive - after
            if span > 0 and ending > 0:
                rate = math.cbrt(miss * ending / (span * (after + ending / 2)) / (3 * cost))
                if done + rate * span >= 1:
                    return since + (1 - done) / rate - age
                done += rate * span
            if after < 1.0:
                return end - age
            since, alive = max(end, since), after
        return since - age


class Learned:
    """What this process knows of one source, as of a moment ago; refreshed by who may read the database.

    Reading it costs a look into a dictionary: it stands on the way of every delivery.
    """

    def __init__(self) -> None:
        self._known: Mapping[tuple[str, str], Durations] = {}
        self.miss_rate = Durations().miss_rate
        self.rate = 0.0

    def __bool__(self) -> bool:
        return bool(self._known)

    def refresh(self, known: Mapping[tuple[str, str], Durations]) -> None:
        """Take over what the database holds, by (model, step types); ('', '') is all of the source."""
        self._known = {key: one for key, one in known.items() if one.weight >= ENOUGH}
        whole = known.get(("", ""), Durations())
        self.miss_rate, self.rate = whole.miss_rate, whole.rate

    def of(self, model: str, step_types: str) -> Durations | None:
        """Return the most particular that is known, None when nothing is."""
        for key in keys_of(model, step_types):
            if (found := self._known.get(key)) is not None:
                return found
        return None


def together(miss: float, rate: float) -> float:
    """Return how many seconds apart to make reads that answer for many workflows at once.

    All of a source's workflows together end as often as there are endings (`rate` a second), and each read is for all
    of them. Such reads are so close that all lags are small, and count as they are.
    """
    if rate <= 0:
        return FARTHEST_TOGETHER
    return min(max(math.sqrt(2 * COST_TOGETHER / (miss * rate)), CLOSEST_TOGETHER), FARTHEST_TOGETHER)


def keys_of(model: str, step_types: str) -> Iterable[tuple[str, str]]:
    """Return the kinds a workflow belongs to, the most particular first."""
    return tuple(dict.fromkeys(((model, step_types), ("", step_types), (model, ""), ("", ""))))
