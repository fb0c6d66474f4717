"""RemoveBGVideo's job (UPSTREAMS §4.2) in the ledger's words, wherever one comes: GET, list, answers, deliveries."""

from __future__ import annotations

import re
from typing import Any

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation
from receiver.ledger.states import Status
from receiver.providers.fields import Names, facts, percent, text, word
from receiver.providers.instants import instant
from receiver.providers.tasks import error_fact, file_at, web_url

HOOK = "webhook_url"

# Two versions of the documentation have `pending` and `created`: both are accepted (UPSTREAMS §4.3). `created` is a
# draft that nobody has started. `succeeded` stands in the signature's test vector alone.
STATUSES: dict[str, Status] = {
    "created": Status.UNASSIGNED,
    "pending": Status.SCHEDULED,
    "processing": Status.PROCESSING,
    "completed": Status.SUCCEEDED,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
}

_NAMES: Names = {
    "model": ("model", (str,)),
    "output_format": ("output_format", (str,)),
    "metadata": ("metadata", (dict,)),
    "usage": ("usage", (dict,)),
}
# `success` and `message` are about the answer, not the job; `event` and `type` about the delivery.
_TAKEN = frozenset(
    {
        *("id", "job_id", "jobId", "status", "progress", "output_url", "download_url", "error", "billing_status"),
        *("created_at", "started_at", "completed_at", "success", "message", HOOK),
        *("event", "event_type", "type", "data", "payload", "job"),
    }
)
_CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)


def job_in(document: JsonObject) -> JsonObject:
    """Return the job in an answer: the document itself, or its `job` or `data` when it names no job by itself."""
    if named(document) is None:
        for name in ("job", "data"):
            inner = document.get(name)
            if type(inner) is dict:
                return inner
    return document


def named(job: JsonObject) -> Any:
    """Return what a job calls itself, as it came: `job_id` in the introduction page's prose, `id` everywhere else."""
    for name in ("job_id", "jobId", "id"):
        if job.get(name) is not None:
            return job[name]
    return None


def observed(job: JsonObject) -> Observation:
    """Return what a job says of itself. Raises Unreadable when its status is no text."""
    status = word(job, "status", "the job's status")
    found = facts(job, _NAMES, _TAKEN)
    error = _error(job.get("error"))
    if error is not None:
        found["error"] = error
    billing = text(job.get("billing_status"))
    if billing is not None:
        found["usage"] = {**found.get("usage", {}), "billing_status": billing}
    return Observation(
        Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        started_at=instant(job.get("started_at")),
        completed_at=instant(job.get("completed_at")),
        submitted_at=instant(job.get("created_at")),
        progress=percent(job.get("progress")),
        facts=found,
    )


def output(job: JsonObject, workflow_id: str) -> tuple[BlobSeen, ...]:
    """Return the job's one file, `<job>~output`. When its URL ends is not documented: None unless it says so itself."""
    url = web_url(job.get("output_url")) or web_url(job.get("download_url"))
    return (file_at(workflow_id, "output", url),) if url and workflow_id else ()


def described(request: JsonObject) -> JsonObject:
    """Return the facts that a request to create or start a job tells besides itself."""
    asked: JsonObject = {name: request[name] for name in ("model", "output_format", "metadata") if name in request}
    return facts(asked, _NAMES, frozenset())


def _error(value: Any) -> JsonObject | None:
    """A job's `error` is a text: a sentence, or a bare code such as `timeout`, which is then the code too."""
    if type(value) is str and _CODE.fullmatch(value[:64]) and len(value) <= 64:
        return {"code": value, "message": value}
    return error_fact(value)
