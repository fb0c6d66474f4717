"""RemoveBGVideo's deliveries (UPSTREAMS §4.4). The headers are documented; the body is not, so every plausible shape is
read: the job itself, the job inside `data` or `job`, an id alone, nothing at all.

The one hint at a shape is the vendor's n8n template, `{"event", "data": {"id", "status", "output_url"}}`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from receiver.ledger.records import JsonObject, Level, Observation, Reading
from receiver.providers.base import Inbound, Unreadable
from receiver.providers.fields import text
from receiver.providers.ids import checked, is_id
from receiver.providers.jsonbody import NotJson, parse
from receiver.providers.removebgvideo_job import STATUSES, named, observed, output

EVENT = "x-webhook-event"
DELIVERY_ID = "x-webhook-delivery-id"

# What an event says when the job in it says nothing.
_WORDS = {"job.started": "processing", "job.completed": "completed", "job.failed": "failed"}


def read_event(inbound: Inbound, *, signed: bool) -> Reading:
    """Read one delivery. Raises Unreadable when neither headers nor body make it one of RemoveBGVideo's.

    It always asks for a look: what the body really holds is not documented. A delivery that names no job has the id '',
    and the registered URL's `ref` decides. With `signed`, the event's name in the header moves no status: the signature
    covers timestamp and body, not the headers.
    """
    header = text(inbound.headers.get(EVENT))
    document = _document(inbound.body, header)
    event = _event(document)
    job = _job(document)
    given = _id(document, job, inbound.headers.get(DELIVERY_ID))
    if header is None and event is None and given is None:
        raise Unreadable("the delivery names neither an event nor a job")
    workflow_id = "" if given is None else checked(given, "the job's id")
    identity = inbound.headers.get(DELIVERY_ID, "")
    found = observed(job)
    told = event if signed else event or header
    return Reading(
        workflow_id,
        (_settled(found, _WORDS.get(told or "")),),
        output(job, workflow_id),
        identity=identity if is_id(identity) else "",
        needs_look=True,
    )


def _document(body: bytes, header: str | None) -> JsonObject:
    """The body as an object. With the event's name in a header, a body without JSON or of another kind is as good as
    an empty one: the delivery still says that something happened."""
    try:
        value: Any = parse(body)
    except NotJson:
        if header is None:
            raise
        return {}
    if type(value) is list and len(value) == 1:
        value = value[0]
    if type(value) is dict:
        found: JsonObject = value
        return found
    if header is None:
        raise Unreadable("the body is no JSON object")
    return {}


def _event(document: JsonObject) -> str | None:
    for name in ("event", "event_type", "type"):
        value = document.get(name)
        if type(value) is dict:
            value = value.get("type") or value.get("name")
        if type(value) is str and value.startswith("job."):
            return value
    return None


def _job(document: JsonObject) -> JsonObject:
    """The object that describes the job: the innermost of `data`, `payload` and `job`, else the document."""
    for outer in ("data", "payload", "job"):
        inner = document.get(outer)
        if type(inner) is dict:
            deeper = inner.get("job")
            return deeper if type(deeper) is dict else inner
    return document


def _id(document: JsonObject, job: JsonObject, delivery: str | None) -> Any:
    """The job's id as it came, None when nothing names one. A top-level `id` may be the delivery's own."""
    holders = [job, *(inner for name in ("data", "payload") if type(inner := document.get(name)) is dict), document]
    for holder in holders:
        given = named(holder)
        if given is not None and given != delivery:
            return given
        if type(holder.get("job")) is str:
            return holder["job"]
    return None


def _settled(found: Observation, word: str | None) -> Observation:
    """The job's own status, or what the event says when it has none; neither where they disagree: a look will tell."""
    if word is None:
        return found
    meaning = STATUSES[word]
    if found.word is None:
        return replace(found, status=meaning, word=word)
    if found.status is not None and found.status is not meaning:
        return Observation(Level.WORKFLOW, word=found.word, facts=found.facts, submitted_at=found.submitted_at)
    return found
