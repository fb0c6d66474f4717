"""What others do: wait for callbacks, ask about everything open from cron, follow upstream's advice to the letter.

All of them take callbacks too, know an ending from the first that names it, and ask no more from then on.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from random import Random

from tests.bench.fidelity.outcome import Outcome
from tests.bench.fidelity.upstream import Scenario, Work

CRON = 30.0
ADVICE = (2.0, 5.0, 10.0, 15.0, 30.0)


def callbacks_alone(scenario: Scenario, works: list[Work]) -> Outcome:
    """Return what is known to whoever never asks."""
    known = {work.id: work.told_at for work in works if work.told_at is not None}
    return Outcome(known, wrong=len(works) - len(known))


def cron(scenario: Scenario, works: list[Work]) -> Outcome:
    """Return what is known to whoever asks about everything open, each 30 s, one by one."""
    return _polled(scenario, works, lambda at, asked: (at // CRON + 1) * CRON)


def advice(scenario: Scenario, works: list[Work]) -> Outcome:
    """Return what is known to whoever asks 2, 5, 10, 15 and then each 30 s after the last time."""
    return _polled(scenario, works, lambda at, asked: at + ADVICE[min(asked, len(ADVICE) - 1)])


def _polled(scenario: Scenario, works: list[Work], following: Callable[[float, int], float]) -> Outcome:
    outcome = callbacks_alone(scenario, works)
    outcome.wrong = 0
    rng = Random(scenario.seed)
    sent: deque[float] = deque()
    queue = [(following(work.submitted, 0), number) for number, work in enumerate(works)]
    asked = [0] * len(works)
    heapq.heapify(queue)
    while queue:
        at, number = heapq.heappop(queue)
        work = works[number]
        if outcome.known.get(work.id, float("inf")) <= at:
            continue
        outcome.reads += 1
        asked[number] += 1
        if _answered(scenario, at, sent, rng) and at >= work.ended:
            outcome.known[work.id] = at
            continue
        heapq.heappush(queue, (following(at, asked[number]), number))
    return outcome


def _answered(scenario: Scenario, at: float, sent: deque[float], rng: Random) -> bool:
    if scenario.down(at) or (scenario.storm[0] <= at < scenario.storm[1] and rng.random() < 0.5):
        return False
    if scenario.budget is None:
        return True
    while sent and sent[0] <= at - 60:
        sent.popleft()
    if len(sent) >= scenario.budget:
        return False
    sent.append(at)
    return True
