"""What is true upstream: workflows, steps, jobs and blobs that change when their time comes. Time is an argument.

One heap holds the next change of every step. `advance(now)` applies what is due, each change at its own instant, and
calls `emit` for each status that was taken, in the order in which upstream tells them: job, then step, then workflow.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.civitai_output import cost_of, produce
from receiver.sandbox.civitai_plan import ENDED, Op, draw_fate, plan_step
from receiver.sandbox.civitai_records import Blob, Change, Job, Step, Workflow
from receiver.sandbox.civitai_template import Template
from receiver.sandbox.faults import seeded

USER_ID = 8484131
ORDER = {"unassigned": 0, "preparing": 1, "scheduled": 1, "processing": 2}


class World:
    """All workflows of one account."""

    def __init__(self, faults: CivitaiFaults, emit: Callable[[Change], None]) -> None:
        self._faults = faults
        self._emit = emit
        self._due: list[tuple[datetime, int, Workflow, Step | None]] = []
        self._sequence = 0
        self._cancels = seeded(faults.seed, "cancel")
        self.workflows: dict[str, Workflow] = {}
        self.blobs: dict[str, Blob] = {}
        self._external: dict[str, Workflow] = {}
        self.open = 0

    # Asking

    def next_at(self) -> datetime | None:
        """When the next change is due; None when nothing is."""
        return self._due[0][0] if self._due else None

    def visible(self, workflow_id: str, now: datetime) -> Workflow | None:
        """The workflow if GetWorkflow finds it: not deleted, not past its retention, not ephemeral and over."""
        workflow = self.workflows.get(workflow_id)
        return workflow if workflow is not None and self.is_visible(workflow, now) else None

    def is_visible(self, workflow: Workflow, now: datetime) -> bool:
        """See `visible`."""
        if workflow.deleted_at is not None or workflow.purged:
            return False
        if workflow.ended_at is None:
            return True
        kept = timedelta(seconds=self._faults.retention)
        return not workflow.template.ephemeral and now < workflow.ended_at + kept

    def by_external_id(self, external_id: str | None, now: datetime) -> Workflow | None:
        """The visible workflow that was submitted under this key."""
        found = self._external.get(external_id or "")
        return found if found is not None and self.is_visible(found, now) else None

    def newest_first(self, now: datetime) -> Iterator[Workflow]:
        """Every visible workflow."""
        return (w for w in reversed(self.workflows.values()) if self.is_visible(w, now))

    # Changing

    def draft(self, template: Template, now: datetime, number: int) -> Workflow:
        """A workflow that is not kept: what `whatif` shows."""
        body = template.body
        return Workflow(
            id=self._new_id(now),
            number=number,
            template=template,
            callbacks=template.callbacks,
            created_at=now,
            rng=seeded(self._faults.seed, "workflow", number),
            steps=[Step(s, input=s.input, metadata=s.metadata) for s in template.steps],
            metadata=body.get("metadata") or {},
            tags=list(body.get("tags") or []),
            allow_mature=body.get("allowMatureContent"),
            cost=cost_of(template),
        )

    def submit(self, template: Template, now: datetime) -> Workflow:
        """Accept a workflow; its independent steps get their first job at once."""
        workflow = self.draft(template, now, len(self.workflows) + 1)
        self.workflows[workflow.id] = workflow
        if template.external_id:
            self._external[template.external_id] = workflow
        self.open += 1
        self._tell(Change(now, workflow))
        for step in workflow.steps:
            self._tell(Change(now, workflow, step))
        self._begin_ready(workflow, now)
        if self._faults.cancel.hit(self._cancels):
            self._push(now + self._scaled(workflow.rng.uniform(0.5, 12)), workflow, None)
        return workflow

    def advance(self, now: datetime, limit: int | None = None) -> int:
        """Apply what is due, at most `limit` changes; how many were."""
        done = 0
        while self._due and self._due[0][0] <= now and done != limit:
            at, _, workflow, step = heapq.heappop(self._due)
            done += 1
            if step is None:
                self.cancel(workflow, at)
            elif not step.ended and step.plan:
                self._apply(workflow, step, step.plan.pop(0), at)
                self._schedule(workflow, step, at)
        return done

    def cancel(self, workflow: Workflow, now: datetime) -> bool:
        """End everything that is open as canceled. False when it had ended already."""
        if workflow.ended:
            return False
        for step in workflow.steps:
            if not step.ended:
                self._end_step(workflow, step, now, "canceled", None, "canceled")
        self._end_workflow(workflow, now, "canceled")
        return True

    def delete(self, workflow: Workflow, now: datetime) -> None:
        """Soft-delete; what is open ends as canceled."""
        self.cancel(workflow, now)
        workflow.deleted_at = now
        workflow.revision += 1

    def finish(self, workflow: Workflow, now: datetime, status: str = "succeeded", reason: str | None = None) -> None:
        """End every open step now, whatever its plan was; steps that depend on a failed one are canceled."""
        for step in workflow.steps:
            if not step.ended:
                step.plan, step.begun = [], True
                running = [number for number, job in enumerate(step.jobs) if job.status not in ENDED]
                self._apply(workflow, step, Op(0, "end", (running or [len(step.jobs)])[0], status, None, reason), now)

    def refresh(self, blob: Blob, now: datetime) -> None:
        """Restart the blob's time to live."""
        blob.kept_until = now + timedelta(seconds=self._faults.media_ttl)
        blob.refreshes += 1

    # Inside

    def _apply(self, workflow: Workflow, step: Step, op: Op, at: datetime) -> None:
        while len(step.jobs) <= op.job:
            step.jobs.append(self._new_job(workflow))
            self._tell(Change(at, workflow, step, step.jobs[-1]))
        job = step.jobs[op.job]
        if op.kind == "end":
            self._end_step(workflow, step, at, op.status, job, op.reason, op.blocked_reason)
            self._settle(workflow, at)
        elif op.kind == "progress":
            job.rate = step.rate = op.rate
            self._tell(Change(at, workflow, step, job))
            self._tell(Change(at, workflow, step))
            if workflow.status == "processing" and workflow.rng.random() < 0.4:
                self._tell(Change(at, workflow))
        elif op.status != job.status:
            self._move_job(workflow, step, job, op, at)

    def _move_job(self, workflow: Workflow, step: Step, job: Job, op: Op, at: datetime) -> None:
        job.status = op.status
        if op.status == "processing":
            job.started_at = at
        if op.status in ENDED:
            job.ended_at, job.reason, job.blocked_reason = at, op.reason, op.blocked_reason
        self._tell(Change(at, workflow, step, job))
        if op.status in ENDED or op.status == step.status:
            return  # a job's failure never fails its step: another provider is tried
        if ORDER.get(op.status, 1) >= ORDER.get(step.status, 0):
            step.status = op.status
            if op.status == "processing" and step.started_at is None:
                step.started_at = at
            self._tell(Change(at, workflow, step))
            self._lift(workflow, op.status, at)

    def _lift(self, workflow: Workflow, status: str, at: datetime) -> None:
        """A workflow is as far as its furthest step; once processing it stays so until its end."""
        if workflow.status == status or ORDER.get(status, 1) < ORDER.get(workflow.status, 0):
            return
        workflow.status = status
        if status == "processing":
            workflow.started_at = workflow.started_at or at
        self._tell(Change(at, workflow))

    def _end_step(
        self,
        workflow: Workflow,
        step: Step,
        at: datetime,
        status: str,
        job: Job | None,
        reason: str | None = None,
        blocked_reason: str | None = None,
    ) -> None:
        for each in step.jobs:
            if each.status in ENDED:
                continue
            each.ended_at = at
            if each is job:
                each.status, each.reason, each.blocked_reason = status, reason, blocked_reason
                each.rate = 1.0 if status == "succeeded" else each.rate
            else:
                each.status, each.reason = "canceled", reason if status == "canceled" else None
            self._tell(Change(at, workflow, step, each))
        step.status, step.ended_at, step.plan = status, at, []
        if status == "succeeded" and job is not None:
            step.rate = 1.0
            step.started_at = step.started_at or at
            chance = self._faults.blocked_blobs
            for blob in produce(workflow, step, job, at + timedelta(seconds=self._faults.media_ttl), chance):
                self.blobs[blob.id] = blob
        self._tell(Change(at, workflow, step))

    def _settle(self, workflow: Workflow, at: datetime) -> None:
        """After a step's end: cancel what depends on a failure, begin what became ready, end the workflow."""
        by_name = {step.name: step for step in workflow.steps}
        for step in workflow.steps:
            sources = [by_name[name] for name in step.template.after]
            if not step.ended and any(s.ended and s.status != "succeeded" for s in sources):
                self._end_step(workflow, step, at, "canceled", None)
        self._begin_ready(workflow, at)
        ends = {step.status for step in workflow.steps}
        if ends <= set(ENDED):
            worst = next(word for word in ("failed", "expired", "canceled", "succeeded") if word in ends)
            self._end_workflow(workflow, at, worst)

    def _end_workflow(self, workflow: Workflow, at: datetime, status: str) -> None:
        workflow.status, workflow.ended_at = status, at
        self.open -= 1
        self._tell(Change(at, workflow))

    def _begin_ready(self, workflow: Workflow, at: datetime) -> None:
        by_name = {step.name: step for step in workflow.steps}
        for step in workflow.steps:
            if step.begun or step.ended or any(by_name[n].status != "succeeded" for n in step.template.after):
                continue
            step.begun = True
            rng, template = workflow.rng, step.template
            step.fate = draw_fate(rng, self._faults, step.metadata.get("sandbox", {}))
            step.plan = plan_step(rng, template.type, step.fate, template.timeout)
            while step.plan and step.plan[0].after == 0 and not step.ended:
                self._apply(workflow, step, step.plan.pop(0), at)
            self._schedule(workflow, step, at)

    def _schedule(self, workflow: Workflow, step: Step, at: datetime) -> None:
        if step.plan and not step.ended:
            self._push(at + self._scaled(step.plan[0].after), workflow, step)

    def _push(self, at: datetime, workflow: Workflow, step: Step | None) -> None:
        self._sequence += 1
        heapq.heappush(self._due, (at, self._sequence, workflow, step))

    def _scaled(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds / self._faults.speed)

    def _tell(self, change: Change) -> None:
        change.workflow.revision += 1
        self._emit(change)

    def _new_job(self, workflow: Workflow) -> Job:
        bits = workflow.rng.getrandbits(128)
        return Job(str(uuid.UUID(int=bits, version=4)), queue_position=workflow.rng.randint(0, 30))

    def _new_id(self, now: datetime) -> str:
        """`{user}-{yyyyMMddHHmmssfff}`; the next free millisecond when two come at once."""
        at = now
        while (name := f"{USER_ID}-{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03d}") in self.workflows:
            at += timedelta(milliseconds=1)
        return name
