"""What one contender made of one day: when it knew each ending, and how many reads that cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.bench.fidelity.upstream import Scenario, Work


@dataclass
class Outcome:
    """`known` is when each ending was known, by id. `confirming` reads only made sure of what a delivery had told.

    `wrong` counts workflows whose end in the ledger is not the true one, when all is over.
    """

    known: dict[str, float] = field(default_factory=dict)
    reads: int = 0
    confirming: int = 0
    wrong: int = 0

    def lags(self, scenario: Scenario, works: list[Work]) -> list[float]:
        """Return for how long each ending was not known whose callback was lost, sorted; never is infinite."""
        lost = [work for work in works if work.told_at is None]
        lags = [self.known.get(work.id, float("inf")) - scenario.countable(work.ended) for work in lost]
        return sorted(max(lag, 0.0) for lag in lags)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which that share of sorted values lies."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0
