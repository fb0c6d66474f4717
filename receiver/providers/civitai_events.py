"""Civitai's three kinds of events (UPSTREAMS §1.6): bytes in, a reading out."""

from __future__ import annotations

from receiver.ledger.records import JsonObject, Reading
from receiver.providers.civitai_outputs import blobs_of, one_each
from receiver.providers.civitai_workflow import job, read_steps, step, unknown, workflow
from receiver.providers.fields import flag
from receiver.providers.ids import checked
from receiver.providers.instants import instant
from receiver.providers.jsonbody import parse_object


def read_event(body: bytes) -> Reading:
    """Read one delivery. Raises Unreadable when it is not JSON, names no workflow, or misuses an id or a status.

    A top-level `jobId` makes it a job event, as in Civitai's own receivers; else `$type` decides; without one, the
    fields do. An event of another type or shape moves nothing and asks for a look (R6).
    """
    event = parse_object(body)
    workflow_id = checked(event.get("workflowId"), "workflowId")
    if event.get("jobId") is not None:
        return _job(event, workflow_id)
    kind = event.get("$type")
    if type(kind) is not str:
        kind = "step" if event.get("name") is not None else "workflow" if event.get("status") is not None else None
    if kind == "workflow":
        return _workflow(event, workflow_id)
    if kind == "step" and event.get("name") is not None:
        return _step(event, workflow_id)
    return Reading(workflow_id=workflow_id, needs_look=True)


def _workflow(event: JsonObject, workflow_id: str) -> Reading:
    """The steps in `details` are as of the event, so they carry its timestamp. They never list jobs."""
    details = _details(event)
    at = instant(event.get("timestamp"))
    if not details:
        found = workflow(event, at)
        return Reading(workflow_id=workflow_id, observations=(found,), needs_look=unknown((found,)))
    children = read_steps(details.get("steps"), at, asked_for_all=False)
    document = _laid_out(event, details)
    observations = (workflow(document, at), *children.observations)
    return Reading(
        workflow_id=workflow_id,
        observations=observations,
        blobs=one_each(children.blobs),
        ephemeral=flag(document.get("ephemeral")),
        needs_look=unknown(observations),
    )


def _step(event: JsonObject, workflow_id: str) -> Reading:
    """The event's own `$type` says "step"; what kind of step it is, only `details` might."""
    document = _laid_out(event, _details(event))
    found = step(document, instant(event.get("timestamp")))
    return Reading(
        workflow_id=workflow_id,
        observations=(found,),
        blobs=one_each(blobs_of(found.key, document.get("output"), asked_for_all=False)),
        needs_look=unknown((found,)),
    )


def _job(event: JsonObject, workflow_id: str) -> Reading:
    """Job events carry no details and no timestamp [spec], but the human `reason` that nothing else exposes."""
    key = checked(event["jobId"], "jobId")
    name = event.get("stepName")
    found = job(event, key, None if name is None else checked(name, "stepName"), instant(event.get("timestamp")))
    return Reading(workflow_id=workflow_id, observations=(found,), needs_look=unknown((found,)))


def _details(event: JsonObject) -> JsonObject:
    details = event.get("details")
    return details if type(details) is dict else {}


def _laid_out(event: JsonObject, details: JsonObject) -> JsonObject:
    """The event and its details as one document, as the API answers it; what the event itself says comes first."""
    return {**details, **{key: value for key, value in event.items() if key != "$type" and value is not None}}
