"""Our reconciler on such a day: the true merge, plan, lanes, pace and budget, on a clock that costs nothing.

Only what does I/O is left out: the database (rows are objects here) and HTTP (an answer is made up from the truth).
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from receiver.config import Budget
from receiver.ledger import looks
from receiver.ledger.batch import forgive
from receiver.ledger.checks import Check, Claim
from receiver.ledger.durations import Durations, keys_of
from receiver.ledger.entries import Answer, Entry, Look
from receiver.ledger.merge import merge, new_state
from receiver.ledger.nodes import Evidence, Merged, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, Level, Observation, Reading, Trust
from receiver.ledger.schedule import plan_check, step_types
from receiver.ledger.states import Status
from reconciler.brake import Health, probe_after
from reconciler.budgets import RequestLog
from reconciler.claiming import Taken, Task, by_turns
from reconciler.errands import Errand, counted, errands_of
from reconciler.lanes import URGENCY
from reconciler.pace import Pace, Slots, backoff
from reconciler.plan import Wait, decide
from tests.bench.fidelity.outcome import Outcome
from tests.bench.fidelity.upstream import Event, Scenario, Work

START = datetime(2026, 3, 1, tzinfo=UTC)
TICK = 0.5  # an idle reconciler looks this often
LATENCY = 0.2
LEARN_EVERY = 30.0
LASTS = 3600.0  # after the last submission


def instant(second: float) -> datetime:
    """Return a second of the simulation as an instant."""
    return START + timedelta(seconds=second)


@dataclass
class Known:
    """One workflow in the ledger: its state, its check, and the truth about it."""

    work: Work
    state: WorkflowState
    check: Check
    leased: bool = False
    place: int = 0  # which entry of the queues is the valid one


@dataclass
class Simulation:
    """One source. `run` returns what was known when, and at what cost."""

    scenario: Scenario
    works: list[Work]
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.policy = Policy(
            Trust.TOKEN,
            silence=timedelta(minutes=2),
            deadline=timedelta(hours=2),
            keep_fresh=timedelta(0),
            bulk=scenario.bulk,
        )
        self.pace = Pace(8)
        self.rng = Random(scenario.seed)
        budget = Budget(scenario.budget, timedelta(minutes=1)) if scenario.budget else None
        self.log = RequestLog(budget) if budget else None
        self.known: dict[str, Known] = {}
        self.queues: dict[str, list[tuple[float, int, str]]] = {lane: [] for lane in URGENCY}
        self.learned: dict[tuple[str, str], Durations] = {}
        self.answers: list[tuple[float, int, Errand, str]] = []
        self.number = 0
        self.ended = 0
        self.alone_first = False
        self.health = Health(0.5)
        self.stopped: str | None = None
        self.probe_at = 0.0
        self.probes = 0

    def run(self) -> Outcome:
        """Play the whole day."""
        asyncio.run(self._run())
        for known in self.known.values():
            right = known.state.node.status.value == known.work.status
            self.outcome.wrong += not right or known.state.node.confirmed_at is None
        return self.outcome

    async def _run(self) -> None:
        events = sorted(
            ((event.at, number, work, event) for number, work in enumerate(self.works) for event in work.events),
            key=lambda one: one[:2],
        )
        submitted, arrived = 0, 0
        second, taught = 0.0, 0.0
        while second < self.scenario.seconds + LASTS:
            while submitted < len(self.works) and self.works[submitted].submitted <= second:
                self._track(self.works[submitted])
                submitted += 1
            while arrived < len(events) and events[arrived][0] <= second:
                self._deliver(events[arrived][2], events[arrived][3])
                arrived += 1
            while self.answers and self.answers[0][0] <= second:
                at, _, errand, how = heapq.heappop(self.answers)
                self._answered(errand, at, how)
            if second - taught >= LEARN_EVERY:
                for one in self.learned.values():
                    one.pass_time(second - taught, self.ended)
                self.policy.learned.refresh(self.learned)
                taught, self.ended = second, 0
            await self._claim(second)
            second += TICK

    def _track(self, work: Work) -> None:
        at = instant(work.submitted)
        state = new_state("sim", work.id, at, "track")
        known = self.known[work.id] = Known(work, state, Check("sim", work.id))
        step = Observation(Level.STEP, "$0", status=Status.UNASSIGNED, word="unassigned", facts={"type": work.kind})
        reading = Reading(work.id, (Observation(Level.WORKFLOW, submitted_at=at), step))
        self._merge(known, reading, Evidence(f"{work.id}t", EvidenceKind.DECISION, at, at, "track"), work.submitted)
        self._plan(known)

    def _deliver(self, work: Work, event: Event) -> None:
        known = self.known[work.id]
        at = instant(event.at)
        key = {"workflow": "", "step": "$0", "job": "j"}[event.level]
        parent = "$0" if event.level == "job" else None
        seen = Observation(Level(event.level), key, parent, Status(event.status), event.status)
        evidence = Evidence(f"{work.id}{event.at}", EvidenceKind.DELIVERY, at, at, "delivery", Trust.TOKEN)
        merged = self._merge(known, Reading(work.id, (seen,)), evidence, event.at)
        if merged.moved:
            forgive(known.check, at)
        self._plan(known)

    def _merge(self, known: Known, reading: Reading, evidence: Evidence, second: float) -> Merged:
        merged = merge(known.state, reading, evidence)
        if merged.doubt:
            known.check.memory.doubted_at = evidence.recorded_at
        if known.state.node.status.value == known.work.status:
            self.outcome.known.setdefault(known.work.id, second)
        return merged

    def _plan(self, known: Known) -> None:
        """Work out the next look as the ledger does, and queue the check under its lane."""
        check = known.check
        check.schedule(plan_check(known.state, check.memory, self.policy))
        check.stored, check.dirty, check.finished = True, False, False
        if check.due_at is not None and not known.leased:
            self._queue(known)

    def _queue(self, known: Known) -> None:
        assert known.check.due_at is not None
        self.number += 1
        known.place = self.number
        due = (known.check.due_at - START).total_seconds()
        heapq.heappush(self.queues[known.check.lane], (due, self.number, known.work.id))

    async def _claim(self, second: float) -> None:
        slots = self.pace.slots(second)
        if self.stopped is not None:
            slots = slots.at_most(1 if second >= self.probe_at else 0)
        if self.log is not None:
            allowance = self.log.allowance(instant(second))
            slots = slots.at_most(allowance.requests, allowance.hints)
        if slots.total < 1:
            return
        slots = Slots(
            slots.total, slots.retries, slots.hints, bulk=self.scenario.bulk if self.stopped is None else 1,
            alone_first=self.alone_first,
            turns=self.pace.turns,
        )  # fmt: skip
        lanes = [lane for lane in URGENCY if self._due(lane, second)]
        if not lanes:
            return

        async def take(lane: str, most: int, retries: bool | None, alone: bool | None) -> list[Claim]:
            return self._take(lane, most, retries, alone, second)

        taken = Taken(slots)
        for alone in taken.turns:
            await by_turns(taken, lanes, take, alone=alone)
        tasks = [task for claim in taken.claims if (task := self._decide(claim, second)) is not None]
        errands, surplus = errands_of(tasks, slots, token=f"c{self.number}")
        for task in surplus:
            self._give_back(self.known[task.claim.id])
        if errands:
            if self.stopped is not None:
                self.probe_at = second + probe_after(self.stopped, self.probes, self.rng).total_seconds()
            self.alone_first = any(len(errand.tasks) > 1 for errand in errands)
            self._send(errands, second)

    def _due(self, lane: str, second: float) -> bool:
        queue = self.queues[lane]
        while queue and self._stale(queue[0]):
            heapq.heappop(queue)
        return bool(queue) and queue[0][0] <= second

    def _stale(self, entry: tuple[float, int, str]) -> bool:
        known = self.known[entry[2]]
        return known.leased or known.place != entry[1]

    def _take(self, lane: str, most: int, retries: bool | None, alone: bool | None, second: float) -> list[Claim]:
        found: list[Claim] = []
        others: list[tuple[float, int, str]] = []
        while len(found) < most and self._due(lane, second):
            entry = heapq.heappop(self.queues[lane])
            check = self.known[entry[2]].check
            apart = check.alone_until is not None and check.alone_until > instant(second)
            if (retries is not None and retries != (check.memory.attempts > 0)) or (
                alone is not None and alone != apart
            ):
                others.append(entry)
                continue
            self.known[entry[2]].leased = True
            check.memory.attempts += 1
            check.fence += 1
            at = instant(second)
            until = at + timedelta(seconds=90)
            found.append(Claim("sim", entry[2], 1, check.fence, lane, check.memory.attempts, at, until, check))
        for entry in others:
            heapq.heappush(self.queues[lane], entry)
        return found

    def _decide(self, claim: Claim, second: float) -> Task | None:
        known = self.known[claim.id]
        plan = decide(known.state, known.check.memory, instant(second), self.policy)
        if isinstance(plan, Wait):
            known.check.due_at, known.check.lane = plan.due.at, plan.due.lane
            known.check.reasons = {why: at.isoformat() for why, at in plan.due.reasons.items()}
            self._give_back(known)
            return None
        until = known.check.alone_until
        return Task(claim, plan, known.state, until is not None and until > instant(second))

    def _give_back(self, known: Known) -> None:
        known.leased = False
        known.check.memory.attempts -= 1
        if known.check.due_at is not None:
            self._queue(known)

    def _send(self, errands: Sequence[Errand], second: float) -> None:
        if self.log is not None:
            self.log.forget(instant(second))
            self.log.reserve(errands[0].token, counted(errands), instant(second + 60))
        for errand in errands:
            for task in errand.tasks:
                self.pace.turns.took(task.claim.lane, 1 / len(errand.tasks))
            self.pace.claimed(hint=errand.hint, retry=errand.retry)
            self.pace.started()
            if all(task.state is not None and task.state.node.status.terminal for task in errand.tasks):
                self.outcome.confirming += 1
            else:
                self.outcome.reads += 1
            self.number += 1
            heapq.heappush(self.answers, (second + LATENCY, self.number, errand, self._how(second)))

    def _how(self, second: float) -> str:
        if self.scenario.down(second):
            return "down"
        stormy = self.scenario.storm[0] <= second < self.scenario.storm[1]
        return "too many" if stormy and self.rng.random() < 0.5 else "shown"

    def _answered(self, errand: Errand, second: float, how: str) -> None:
        self.pace.ended(hint=errand.hint, retry=errand.retry)
        if self.log is not None:
            self.log.settle(errand.token, hint=errand.hint, sent=True, now=instant(second))
        if how == "too many":
            self.pace.pause(second, 5.0)
        self._judge(errand.tasks[0].claim.id, second, how)
        wait = backoff(max(task.claim.attempts for task in errand.tasks), self.rng)
        for task in errand.tasks:
            self._look(self.known[task.claim.id], second, how, wait)

    def _judge(self, workflow_id: str, second: float, how: str) -> None:
        if how == "shown":
            self.stopped, self.probes = None, 0
        self.probes += self.stopped is not None
        answer = Answer.SHOWN if how == "shown" else Answer.BUSY
        trip = self.health.judge(workflow_id, answer, instant(second), first=True).trip if how != "too many" else None
        if trip is not None and self.stopped is None:
            self.stopped = trip.because
            self.probe_at = second + probe_after(trip.because, 0, self.rng).total_seconds()

    def _look(self, known: Known, second: float, how: str, wait: float) -> None:
        work, sent, at = known.work, instant(second - LATENCY), instant(second)
        answer = Answer.SHOWN if how == "shown" else Answer.BUSY
        look = Look(known.check.fence, answer, backoff=wait, charged=how != "too many" and self.stopped is None)
        entry = Entry("sim", self.policy, EvidenceKind.FETCH, sent, work.id, look=look)
        if how == "shown":
            status = work.at(second - LATENCY)
            step = Observation(Level.STEP, "$0", status=Status(status), word=status, facts={"type": work.kind})
            seen = [
                Observation(Level.WORKFLOW, status=Status(status), word=status, submitted_at=instant(work.submitted))
            ]
            seen += (
                [step, Observation(Level.JOB, "j", "$0", Status(status), status)] if self.scenario.children else [step]
            )
            reading = Reading(work.id, tuple(seen), snapshot=True, complete=True)
            evidence = Evidence(f"{work.id}{second}", EvidenceKind.FETCH, sent, at, "look", None, sent)
            confirmed = known.state.node.confirmed_at
            self._merge(known, reading, evidence, second)
            if confirmed is None and known.state.node.confirmed_at is not None:
                self._learn(known)
        looks.finish(known.check, entry, known.state, at)
        known.leased = False
        self._plan(known)

    def _learn(self, known: Known) -> None:
        node = known.state.node
        self.ended += 1
        shown = Durations.of(known.work.ended - known.work.submitted)
        late = self.outcome.known[known.work.id] - known.work.ended
        shown.note_teller(delivered=node.finished_via == "delivery", late=late)
        for key in keys_of(known.state.about.get("model") or "", step_types(known.state)):
            self.learned.setdefault(key, Durations()).add(shown)
