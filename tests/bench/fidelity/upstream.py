"""A simulated upstream: workflows that end when it was drawn, callbacks that mostly come, an outage, a storm of 429s.

All instants are seconds from the beginning. Everything is drawn from one seed before the first second passes, so that
all contenders meet the same day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

HOURS = 6.0
SHORTEST, LONGEST = 5.0, 40 * 60.0
# Step types with the median of their durations in seconds and the deviation of its logarithm.
KINDS = {"imageGen": (9.0, 0.5), "imageUpscale": (28.0, 0.6), "videoGen": (180.0, 0.5), "training": (900.0, 0.45)}
_OUTAGE, _STORM = 20 * 60.0, 5 * 60.0


@dataclass(frozen=True)
class Scenario:
    """One source on one such day. `loss` is "each" (each callback with 10 %) or "tail" (all from some instant on, 5 %).

    `bulk` is for how many workflows one read answers, `budget` how many reads a minute upstream allows. `children`
    says that steps and jobs have callbacks of their own, as Civitai's do.
    """

    name: str
    count: int
    loss: str
    bulk: int = 1
    budget: int | None = None
    children: bool = False
    seed: int = 1

    @property
    def seconds(self) -> float:
        """For how long workflows are submitted."""
        return HOURS * 3600

    @property
    def outage(self) -> tuple[float, float]:
        """From when until when upstream answers nothing but 503."""
        return self.seconds / 2, self.seconds / 2 + _OUTAGE

    @property
    def storm(self) -> tuple[float, float]:
        """From when until when every other read is answered 429."""
        return self.seconds / 4, self.seconds / 4 + _STORM

    def down(self, at: float) -> bool:
        """Whether upstream answers nothing."""
        return self.outage[0] <= at < self.outage[1]

    def countable(self, at: float) -> float:
        """Return from when on not knowing an ending counts: nobody can know what upstream does not tell."""
        return self.outage[1] if self.down(at) else at


@dataclass(frozen=True)
class Event:
    """One callback that arrives: the level it is about and the status it names."""

    at: float
    level: str
    status: str


@dataclass
class Work:
    """One workflow of one step and one job, as it truly was."""

    id: str
    kind: str
    submitted: float
    began: float
    ended: float
    status: str
    events: list[Event] = field(default_factory=list)
    told_at: float | None = None  # when the first callback that names the ending arrives

    def at(self, second: float) -> str:
        """Return the status upstream shows at that instant."""
        return self.status if second >= self.ended else "processing" if second >= self.began else "unassigned"


def drawn(scenario: Scenario) -> list[Work]:
    """Return the day's workflows in the order of their submission."""
    rng = Random(f"{scenario.seed}-{scenario.name}-{scenario.loss}")
    works = [_work(scenario, rng, number) for number in range(scenario.count)]
    for work in works:
        for event in _arriving(scenario, rng, work):
            work.events.append(event)
            if event.level == "workflow" and event.status == work.status:
                work.told_at = min(event.at, work.told_at or event.at)
    return sorted(works, key=lambda work: work.submitted)


def _work(scenario: Scenario, rng: Random, number: int) -> Work:
    kind = rng.choice(list(KINDS))
    median, sigma = KINDS[kind]
    lasts = min(max(rng.lognormvariate(0, sigma) * median, SHORTEST), LONGEST)
    submitted = rng.uniform(0, scenario.seconds)
    status = rng.choices(("succeeded", "failed", "canceled"), (90, 8, 2))[0]
    return Work(
        f"wf_{number:05}", kind, submitted, submitted + lasts * rng.uniform(0.02, 0.2), submitted + lasts, status
    )


def _arriving(scenario: Scenario, rng: Random, work: Work) -> Iterator[Event]:
    cut = rng.uniform(work.submitted, work.ended) if scenario.loss == "tail" and rng.random() < 0.05 else None
    levels = ("job", "step", "workflow") if scenario.children else ("workflow",)
    for instant, status in ((work.began, "processing"), (work.ended, work.status)):
        for place, level in enumerate(levels):
            sent = instant + 0.1 * place
            late = rng.uniform(20, 120) if rng.random() < 0.05 else rng.uniform(0.1, 1.0)
            copies = 2 if rng.random() < 0.2 else 1
            lost = rng.random() < 0.1 if scenario.loss == "each" else cut is not None and sent >= cut
            if lost:
                continue
            arrives = sent + late
            if scenario.down(arrives):  # it is sent again when upstream is back
                arrives = scenario.outage[1] + rng.uniform(0, 60)
            for copy in range(copies):
                yield Event(arrives + copy * rng.uniform(1, 10), level, status)
