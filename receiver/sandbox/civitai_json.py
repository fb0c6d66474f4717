"""The shapes upstream answers with and posts (UPSTREAMS §1.2.2, §1.6). `Renderer` is the only place that knows them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.civitai_records import MATURE, Blob, Change, Job, Step, Workflow
from receiver.sandbox.clock import stamp, stamp_or_none
from receiver.sandbox.media import UrlSigner
from receiver.sandbox.wire import encode

TIPS = {"civitai": 0, "creators": 0}


class Renderer:
    """Turns what is true at `now` into upstream's JSON; signs a new URL each time a blob is shown."""

    def __init__(self, faults: CivitaiFaults, signer: UrlSigner, base_url: Callable[[], str]) -> None:
        self._faults = faults
        self._signer = signer
        self._base_url = base_url

    def workflow(self, workflow: Workflow, now: datetime, *, hide_mature: bool = False) -> dict[str, Any]:
        """GetWorkflow's body. While it runs, no step shows its output."""
        body = workflow.template.body
        steps = [self.step(workflow, s, now, hide_mature=hide_mature, output=workflow.ended) for s in workflow.steps]
        debit = {"type": "debit", "amount": workflow.cost, "id": f"tx-{workflow.number}", "accountType": "yellow"}
        answer = {
            "id": workflow.id,
            "createdAt": stamp(workflow.created_at),
            "transactions": {"list": [debit]},
            "metadata": workflow.metadata,
            "status": workflow.status,
            "tags": workflow.tags,
            "arguments": body.get("arguments") or {},
            "steps": steps,
            "callbacks": [callback.as_json() for callback in workflow.callbacks],
            "tips": body.get("tips") or TIPS,
            "cost": {"base": workflow.cost, "tips": TIPS, "total": workflow.cost},
            "upgradeMode": body.get("upgradeMode") or "manual",
            "currencies": body.get("currencies") or ["yellow"],
            "forceRefunded": False,
        }
        if workflow.started_at:
            answer["startedAt"] = stamp(workflow.started_at)
        if workflow.ended_at:
            answer["completedAt"] = stamp(workflow.ended_at)
        if workflow.template.external_id:
            answer["externalId"] = workflow.template.external_id
        if workflow.template.ephemeral:
            answer["ephemeral"] = True
        if workflow.allow_mature is not None:
            answer["allowMatureContent"] = workflow.allow_mature
        return answer

    def step(
        self, workflow: Workflow, step: Step, now: datetime, *, hide_mature: bool = False, output: bool = True
    ) -> dict[str, Any]:
        """A WorkflowStep."""
        template = step.template
        answer: dict[str, Any] = {
            "$type": template.type,
            "name": step.name,
            "priority": template.priority,
            "status": step.status,
            "metadata": step.metadata,
            "input": step.input,
            "jobs": [self._job(job) for job in step.jobs],
        }
        if template.timeout_text:
            answer["timeout"] = template.timeout_text
        answer |= _times(step)
        if output and step.output is not None:
            answer["output"] = self._output(workflow, step, now, hide_mature)
        return answer

    def _job(self, job: Job) -> dict[str, Any]:
        answer: dict[str, Any] = {"id": job.id, "status": job.status, "cost": 4.0}
        if job.started_at:
            answer["startedAt"] = stamp(job.started_at)
        if job.ended_at:
            answer["completedAt"] = stamp(job.ended_at)
        elif job.started_at is None:
            answer["queuePosition"] = {"support": "available", "precedingJobs": job.queue_position}
        if job.rate is not None:
            answer["estimatedProgressRate"] = job.rate
        if self._faults.reason_in_get and job.status == "failed":
            # The guides show both, the schema has neither (UPSTREAMS §1.2.2): hence the knob.
            answer["reason"] = job.reason
            answer["blockedReason"] = job.blocked_reason
        elif self._faults.reason_in_get and job.reason:
            answer["reason"] = job.reason
        return answer

    def _output(self, workflow: Workflow, step: Step, now: datetime, hide_mature: bool) -> dict[str, Any]:
        output = dict(step.output or {})
        blobs = [self.blob(workflow, blob, now, hide_mature=hide_mature) for blob in step.blobs]
        if step.template.type == "imageGen":
            output["images"] = blobs
        elif step.template.type == "videoGen":
            output["video"] = blobs[0]
            if blobs[1:]:
                output["additionalVideos"] = blobs[1:]
        return output

    def blob(self, workflow: Workflow, blob: Blob, now: datetime, *, hide_mature: bool = False) -> dict[str, Any]:
        """A Blob with a URL signed now; without one when it is blocked, gone, withheld or hidden."""
        available = not (blob.gone(now) or blob.blocked_reason or workflow.withholds(blob))
        answer: dict[str, Any] = {
            "type": blob.type,
            "id": blob.id,
            "available": available,
            "url": None,
            "urlExpiresAt": None,
            "jobId": blob.job_id,
            "nsfwLevel": blob.nsfw_level,
            "width": blob.width,
            "height": blob.height,
        }
        if blob.blocked_reason:
            answer["blockedReason"] = blob.blocked_reason
        if available and not (hide_mature and blob.nsfw_level in MATURE):
            query, until = self._signer.query(blob.id, now, self._faults.url_ttl)
            answer["url"] = f"{self._base_url()}/v2/consumer/blobs/{blob.id}?{query}"
            answer["urlExpiresAt"] = stamp(until)
            if blob.type == "image":
                answer["previewUrl"] = answer["url"]
                answer["previewUrlExpiresAt"] = answer["urlExpiresAt"]
        return answer

    def event(self, change: Change, *, detailed: bool) -> bytes:
        """The body of one callback: which fields, UPSTREAMS §1.6. Job events never carry details or a timestamp."""
        if change.job is not None:
            body = self._job_event(change, change.job)
        elif change.step is not None:
            body = {"$type": "step", "workflowId": change.workflow.id, "name": change.step.name}
            body["status"] = change.status
            if change.step.status == "preparing":
                body["preparation"] = _preparation(change.step)
            if detailed:
                body["details"] = self._step_details(change.workflow, change.step, change.at)
        else:
            body = {"$type": "workflow", "workflowId": change.workflow.id, "status": change.status}
            body["timestamp"] = stamp(change.at)
            if detailed:
                body["details"] = self._workflow_details(change.workflow, change.at)
        return encode(body)

    def _job_event(self, change: Change, job: Job) -> dict[str, Any]:
        assert change.step is not None
        body: dict[str, Any] = {} if self._faults.job_type == "missing" else {"$type": self._faults.job_type}
        body |= {"workflowId": change.workflow.id, "stepName": change.step.name, "jobId": job.id}
        body |= {"status": job.status, "progress": job.rate if job.status == "processing" else None}
        body |= {"reason": job.reason, "blockedReason": job.blocked_reason, "matureContent": None}
        return body

    def _step_details(self, workflow: Workflow, step: Step, now: datetime) -> dict[str, Any]:
        details: dict[str, Any] = {"retries": max(len(step.jobs) - 1, 0)}
        details |= {"metadata": step.metadata, "input": step.input, **_times(step)}
        if step.output is not None:
            details["output"] = self._output(workflow, step, now, hide_mature=False)
        return details

    def _workflow_details(self, workflow: Workflow, now: datetime) -> dict[str, Any]:
        details: dict[str, Any] = {
            "metadata": workflow.metadata,
            "arguments": workflow.template.body.get("arguments") or {},
            "createdAt": stamp(workflow.created_at),
            "steps": [],
        }
        for step in workflow.steps:
            # Neither $type nor jobs here.
            shown = {"name": step.name, "status": step.status, "metadata": step.metadata, "input": step.input}
            shown |= {key: value for key, value in _times(step).items() if key in ("startedAt", "completedAt")}
            if step.output is not None:
                shown["output"] = self._output(workflow, step, now, hide_mature=False)
            details["steps"].append(shown)
        if workflow.started_at:
            details["startedAt"] = stamp(workflow.started_at)
        if workflow.ended_at:
            details["completedAt"] = stamp(workflow.ended_at)
        return details


def _preparation(step: Step) -> dict[str, Any]:
    return {"resource": "urn:air:sdxl:checkpoint:civitai:101055@128078", "queuePosition": 1, "progress": step.rate}


def _times(step: Step) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if step.started_at:
        shown["startedAt"] = stamp(step.started_at)
    if step.ended_at:
        shown["completedAt"] = stamp(step.ended_at)
    if step.rate is not None:
        shown["estimatedProgressRate"] = step.rate
    if step.status == "preparing":
        shown["preparation"] = _preparation(step)
    return shown


def truth_of(workflow: Workflow, now: datetime, visible: bool) -> dict[str, Any]:
    """What really is, for `/_sandbox/truth`: in this sandbox's own words, nothing hidden."""
    return {
        "id": workflow.id,
        "external_id": workflow.template.external_id,
        "status": workflow.status,
        "settled": workflow.ended,
        "visible": visible,
        "ephemeral": workflow.template.ephemeral,
        "created_at": stamp(workflow.created_at),
        "started_at": stamp_or_none(workflow.started_at),
        "ended_at": stamp_or_none(workflow.ended_at),
        "deleted_at": stamp_or_none(workflow.deleted_at),
        "callbacks": len(workflow.callbacks),
        "steps": [_true_step(step) for step in workflow.steps],
        "blobs": [_true_blob(workflow, blob, now) for step in workflow.steps for blob in step.blobs],
    }


def _true_step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "type": step.template.type,
        "status": step.status,
        "started_at": stamp_or_none(step.started_at),
        "ended_at": stamp_or_none(step.ended_at),
        "rate": step.rate,
        "jobs": [
            {
                "id": job.id,
                "status": job.status,
                "started_at": stamp_or_none(job.started_at),
                "ended_at": stamp_or_none(job.ended_at),
                "rate": job.rate,
                "reason": job.reason,
                "blocked_reason": job.blocked_reason,
            }
            for job in step.jobs
        ],
    }


def _true_blob(workflow: Workflow, blob: Blob, now: datetime) -> dict[str, Any]:
    return {
        "id": blob.id,
        "type": blob.type,
        "step": blob.step,
        "job_id": blob.job_id,
        "available": not (blob.gone(now) or blob.blocked_reason or workflow.withholds(blob)),
        "gone": blob.gone(now),
        "blocked_reason": blob.blocked_reason,
        "nsfw_level": blob.nsfw_level,
        "width": blob.width,
        "height": blob.height,
        "kept_until": stamp(blob.kept_until),
        "refreshes": blob.refreshes,
    }
