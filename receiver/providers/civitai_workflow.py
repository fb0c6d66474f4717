"""Civitai's Workflow, WorkflowStep and WorkflowStepJob (UPSTREAMS §1.2.2) in the ledger's words.

Events carry the same fields in other places; `civitai_events` puts them where these functions look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers.base import Unreadable
from receiver.providers.civitai_outputs import blobs_of, one_each
from receiver.providers.fields import Names, facts, flag, fraction, rows, text, word
from receiver.providers.ids import checked
from receiver.providers.instants import instant

MAX_CHILDREN = 5000  # steps and jobs, and output files, in one document; real ones have tens

# One enum for all three levels [spec WorkflowStatus], spelled exactly like the ledger's.
STATUSES: dict[str, Status] = {status.value: status for status in Status}

_AMOUNT: tuple[type, ...] = (dict, int, float)
_ANY: tuple[type, ...] = (dict, list, str, int, float, bool)
_WHY: Names = {"reason": ("reason", (str,)), "blockedReason": ("blocked_reason", (str,))}
_WORKFLOW: Names = {
    **_WHY,
    "metadata": ("metadata", (dict,)),
    "cost": ("cost", _AMOUNT),
    "tags": ("tags", (list,)),
    "externalId": ("external_id", (str,)),
    "deletedAt": ("deleted_at", (str,)),
}
_STEP: Names = {
    **_WHY,
    "$type": ("type", (str,)),
    "input": ("input", _ANY),
    "output": ("output", _ANY),
    "metadata": ("metadata", (dict,)),
    "preparation": ("preparation", (dict,)),
    "retries": ("retries", (int,)),
    "cost": ("cost", _AMOUNT),
    "priority": ("priority", (str,)),
    "timeout": ("timeout", (str,)),
}
_JOB: Names = {
    **_WHY,
    "cost": ("cost", _AMOUNT),
    "queuePosition": ("queue_position", (dict,)),
    "matureContent": ("mature_content", (bool,)),
}
_TAKEN = frozenset({"workflowId", "status", "timestamp", "startedAt", "completedAt", "details"})
# `callbacks` hold the URLs that carry our own hook tokens: never kept as a fact.
_OF_WORKFLOW = _TAKEN | {"id", "$type", "steps", "callbacks", "transactions", "ephemeral", "createdAt", "arguments"}
_OF_STEP = _TAKEN | {"name", "jobs", "estimatedProgressRate"}
_OF_JOB = _TAKEN | {"id", "jobId", "stepName", "$type", "progress", "estimatedProgressRate"}


@dataclass(slots=True)
class Children:
    """What a document's steps say: observations of steps and jobs, output files, and whether any are left out."""

    observations: list[Observation] = field(default_factory=list)
    blobs: list[BlobSeen] = field(default_factory=list)
    complete: bool = True

    def add(self, found: Observation) -> None:
        """Take one more observation. Raises Unreadable beyond MAX_CHILDREN."""
        if len(self.observations) == MAX_CHILDREN:
            raise Unreadable(f"the workflow has more than {MAX_CHILDREN} steps and jobs")
        self.observations.append(found)


def read_workflow(document: JsonObject, workflow_id: str, *, snapshot: bool) -> Reading:
    """Read a Workflow as GetWorkflow, QueryWorkflows and SubmitWorkflow answer it. Raises Unreadable.

    `snapshot` says that it answers our own look, asked with `hideMatureContent=false`. The reading is complete when
    `steps` is a list and every step has a `jobs` list: the schema allows null there (`jobs[]|null`), and a step that
    does not list its jobs omits none of them.
    """
    children = read_steps(document.get("steps"), None, asked_for_all=snapshot)
    found = workflow(document, None)
    return Reading(
        workflow_id=workflow_id,
        observations=(found, *children.observations),
        blobs=one_each(children.blobs),
        snapshot=snapshot,
        complete=snapshot and children.complete,
        ephemeral=flag(document.get("ephemeral")),
        needs_look=not snapshot and unknown((found, *children.observations)),
    )


def workflow(document: JsonObject, at: datetime | None) -> Observation:
    """Return what a Workflow (or a workflow event laid out like one) says of the workflow itself."""
    status = word(document, "status", "the workflow's status")
    found = facts(document, _WORKFLOW, _OF_WORKFLOW)
    steps = rows(document.get("steps")) or []
    found.update(asked_for(document, steps))
    usage = {key: document[key] for key in ("cost", "transactions") if type(document.get(key)) is dict}
    if usage:
        found["usage"] = usage
    return Observation(
        level=Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        upstream_at=at,
        started_at=instant(document.get("startedAt")),
        completed_at=instant(document.get("completedAt")),
        submitted_at=instant(document.get("createdAt")),
        facts=found,
    )


def read_steps(value: Any, at: datetime | None, *, asked_for_all: bool) -> Children:
    """Return what a list of steps says. A step without a name is left out, and the list is then not complete.

    Raises Unreadable when a name, a job's id or a status is there and not what it must be, or there are more than
    MAX_CHILDREN of them or of their files.
    """
    children = Children()
    documents = rows(value)
    if documents is None:
        children.complete = False
        return children
    for document in documents:
        if document.get("name") is None:
            children.complete = False
            continue
        found = step(document, at)
        children.add(found)
        children.blobs += blobs_of(found.key, document.get("output"), asked_for_all=asked_for_all)
        if len(children.blobs) > MAX_CHILDREN:
            raise Unreadable(f"the workflow has more than {MAX_CHILDREN} output files")
        _read_jobs(document, found, children, at)
    return children


def step(document: JsonObject, at: datetime | None) -> Observation:
    """Return what a WorkflowStep (or a step event laid out like one) says of the step."""
    status = word(document, "status", "a step's status")
    return Observation(
        level=Level.STEP,
        key=checked(document.get("name"), "a step's name"),
        status=STATUSES.get(status) if status else None,
        word=status,
        upstream_at=at,
        started_at=instant(document.get("startedAt")),
        completed_at=instant(document.get("completedAt")),
        progress=fraction(document.get("estimatedProgressRate")),
        facts=facts(document, _STEP, _OF_STEP),
    )


def job(document: JsonObject, key: str, step_name: str | None, at: datetime | None) -> Observation:
    """Return what a WorkflowStepJob (or a job event, which says `progress`) says of the job."""
    status = word(document, "status", "a job's status")
    progress = fraction(document.get("progress"))
    return Observation(
        level=Level.JOB,
        key=key,
        step=step_name,
        status=STATUSES.get(status) if status else None,
        word=status,
        upstream_at=at,
        started_at=instant(document.get("startedAt")),
        completed_at=instant(document.get("completedAt")),
        progress=fraction(document.get("estimatedProgressRate")) if progress is None else progress,
        facts=facts(document, _JOB, _OF_JOB),
    )


def _read_jobs(document: JsonObject, of: Observation, children: Children, at: datetime | None) -> None:
    documents = rows(document.get("jobs"))
    if documents is None:
        children.complete = False
        return
    for each in documents:
        if each.get("id") is None:
            # The guide's samples show jobs with nothing but status and reason (errors-and-retries): the reason is still
            # the best hint at why the step ended as it did.
            children.complete = False
            for fact, value in facts(each, _WHY, _OF_JOB).items():
                if fact in ("reason", "blocked_reason"):
                    of.facts.setdefault(fact, value)
            continue
        children.add(job(each, checked(each["id"], "a job's id"), of.key, at))


def asked_for(document: JsonObject, steps: list[JsonObject]) -> JsonObject:
    """Return the facts `request`, `model` and `output_format`, as far as a document's arguments and step inputs tell.

    `request` is put together again: `{"arguments", "steps": [{"$type", "name", "input"}]}`.
    """
    asked = [
        {key: each[key] for key in ("$type", "name", "input") if each.get(key) is not None}
        for each in steps
        if type(each.get("input")) is dict
    ]
    request: JsonObject = {}
    if type(document.get("arguments")) is dict and document["arguments"]:
        request["arguments"] = document["arguments"]
    if asked:
        request["steps"] = asked
    found: JsonObject = {"request": request} if request else {}
    return found | described([each["input"] for each in asked])


def described(inputs: Iterable[Mapping[str, Any]]) -> JsonObject:
    """Return the facts `model` and `output_format` from step inputs: of each, the first that says so.

    The model is `engine/model/version`, as many of the three as are given (`wan/v2.6`); it is best effort, since every
    step type names it differently.
    """
    found: JsonObject = {}
    for each in inputs:
        named = [part for key in ("engine", "model", "version") if (part := text(each.get(key)))]
        if named:
            found.setdefault("model", "/".join(named))
        form = text(each.get("outputFormat")) or text(each.get("format"))
        if form:
            found.setdefault("output_format", form)
    return found


def unknown(observations: Iterable[Observation]) -> bool:
    """Whether any status is missing or a word we do not know (R6)."""
    return any(found.status is None for found in observations)
