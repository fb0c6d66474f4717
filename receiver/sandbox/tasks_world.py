"""What is true at a single-task upstream: tasks that change when their time comes. Time is an argument.

One heap holds the next change of every task. `emit(task, what)` is called for each: `created`, `started`, `progress`,
`ended`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.sandbox.clock import stamp_or_none
from receiver.sandbox.tasks_faults import TaskFaults
from receiver.sandbox.tasks_records import ODD_WORDS, File, Op, Task


@dataclass(frozen=True, slots=True)
class Habits:
    """How the tasks of one upstream go: seconds per type (lowest, highest), share of them spent in the queue, errors
    a task can end with (code or None, message), and the files a success makes."""

    paces: dict[str, tuple[float, float]]
    failures: tuple[tuple[str | None, str], ...]
    files: Callable[[Task], list[File]]
    queue: float = 0.25
    cancels: bool = False


class TaskWorld:
    """All tasks of one account."""

    def __init__(self, faults: TaskFaults, habits: Habits, emit: Callable[[Task, str], None]) -> None:
        self._faults = faults
        self._habits = habits
        self._emit = emit
        self._due: list[tuple[datetime, int, int, Task]] = []
        self._sequence = 0
        self._keys: dict[str, Task] = {}
        self.tasks: dict[str, Task] = {}
        self.open = 0

    def next_at(self) -> datetime | None:
        """When the next change is due; None when nothing is."""
        return self._due[0][0] if self._due else None

    def is_visible(self, task: Task, now: datetime) -> bool:
        """Whether upstream still has it."""
        kept = timedelta(seconds=self._faults.retention)
        return not task.purged and (task.ended_at is None or now < task.ended_at + kept)

    def visible(self, task_id: str, now: datetime) -> Task | None:
        """The task if upstream still has it."""
        task = self.tasks.get(task_id)
        return task if task is not None and self.is_visible(task, now) else None

    def by_key(self, key: str | None, now: datetime) -> Task | None:
        """The visible task that was submitted under this idempotency key."""
        task = self._keys.get(key or "")
        return task if task is not None and self.is_visible(task, now) else None

    def newest_first(self, now: datetime) -> Iterator[Task]:
        """Every visible task."""
        return (task for task in reversed(self.tasks.values()) if self.is_visible(task, now))

    def add(self, task: Task, now: datetime) -> None:
        """Keep it, and let it begin unless it is a draft."""
        self.tasks[task.id] = task
        if task.key:
            self._keys[task.key] = task
        task.modified_at = now
        self._emit(task, "created")
        if task.phase != "draft":
            self.open += 1
            self._plan(task, now)

    def begin(self, task: Task, now: datetime) -> None:
        """Start a draft, or an ended task once more: the same id, a new run."""
        if task.ended:
            task.past.append({"run": task.run, "canonical": task.phase, "ended_at": stamp_or_none(task.ended_at)})
            task.run += 1
        task.phase, task.progress, task.modified_at = "queued", 0, now
        task.started_at = task.ended_at = task.error_code = task.error = task.word = None
        task.files = []
        task.told = {}
        self.open += 1
        self._plan(task, now)

    def finish(
        self, task: Task, now: datetime, phase: str = "succeeded", code: str | None = None, error: str | None = None
    ) -> None:
        """End it now, whatever its plan was; nothing happens when it has ended."""
        if task.open:
            task.script |= {"end": phase} | ({"code": code, "message": error} if code or error else {})
            self._apply(task, Op(0, phase), now)

    def advance(self, now: datetime, limit: int | None = None) -> int:
        """Apply what is due, at most `limit` changes; how many were."""
        done = 0
        while self._due and self._due[0][0] <= now and done != limit:
            at, _, run, task = heapq.heappop(self._due)
            done += 1
            if run == task.run and task.open and task.plan:
                self._apply(task, task.plan.pop(0), at)
                self._schedule(task, at)
        return done

    # Inside

    def _plan(self, task: Task, now: datetime) -> None:
        rng, script, habits, faults = task.rng, task.script, self._habits, self._faults
        total = script.get("seconds") or rng.uniform(*habits.paces[task.type])
        failing, canceling, odd = (c.hit(rng) for c in (faults.fail, faults.cancel, faults.unknown_status))
        end = "failed" if failing else "canceled" if canceling and habits.cancels else "succeeded"
        queue = task.facts.get("queue", habits.queue) * total
        task.plan = [Op(queue, "processing", rng.randint(1, 5))]
        steps, rest = rng.randint(1, 4), total - queue
        word = script.get("oddWord") or (rng.choice(ODD_WORDS) if odd else None)
        for step in range(steps):
            share = (step + 1) * 100 // (steps + 1)
            task.plan.append(Op(rest * 0.9 / steps, "processing", share, word if step == 0 else None))
        if not script.get("hold"):
            task.plan.append(Op(rest * 0.1, str(script.get("end", end))))
        while task.plan and task.plan[0].after == 0 and task.open:
            self._apply(task, task.plan.pop(0), now)
        self._schedule(task, now)

    def _apply(self, task: Task, op: Op, at: datetime) -> None:
        before, task.phase, task.modified_at, task.word = task.phase, op.phase, at, op.word
        if op.progress is not None:
            task.progress = max(task.progress, op.progress)
        if not task.open:
            self._end(task, at)
        elif before == "queued":
            task.started_at = at
            self._emit(task, "started")
        else:
            self._emit(task, "progress")

    def _end(self, task: Task, at: datetime) -> None:
        self.open -= 1
        task.ended_at, task.plan = at, []
        if task.phase == "succeeded":
            task.started_at = task.started_at or at
            task.progress, task.files = 100, self._habits.files(task)
        elif task.phase in ("failed", "expired"):
            code, message = task.rng.choice(self._habits.failures)
            if wanted := task.script.get("code"):
                code, message = wanted, next((text for word, text in self._habits.failures if word == wanted), wanted)
            task.error_code, task.error = code, task.script.get("message") or message
        self._emit(task, "ended")

    def _schedule(self, task: Task, at: datetime) -> None:
        if task.plan and task.open:
            self._sequence += 1
            due = at + timedelta(seconds=task.plan[0].after / self._faults.speed)
            heapq.heappush(self._due, (due, self._sequence, task.run, task))
