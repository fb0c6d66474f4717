"""One workflow: drawn over time, with every transition, what told it, its files, and what to do."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.advising import with_advice
from receiver.incidents import BadSymptom, incident_of
from receiver.ledger import audit, queries, trail
from receiver.ledger.audit import AuditFilter
from receiver.ledger.query_parts import JsonObject, stamp
from receiver.providers.base import Unreadable
from receiver.providers.jsonbody import parse
from receiver.symptoms import SYMPTOMS
from receiver.web.answers import clock, site_of
from receiver.web.documents import document_of
from receiver.web.pages.guarding import page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.pages.timeline import timeline
from receiver.web.parameters import named
from receiver.web.problems import Problem
from receiver.web.waiting import unknown_workflow

WORKFLOW = "/workflows/{source}/{id}"
_MOST = 200  # transitions, and pieces of evidence, on the page
_DEEDS = 10  # of what people did to it
_PICTURES, _FILMS, _SOUNDS = ("image",), ("video",), ("audio",)


def routes() -> list[Route]:
    """Return the routes of one workflow that only show."""
    return [
        Route(WORKFLOW, workflow, methods=["GET"]),
        Route(f"{WORKFLOW}/document", document, methods=["GET"]),
        Route(f"{WORKFLOW}/incident", incident, methods=["GET"]),
    ]


@page()
async def workflow(request: Request) -> Response:
    """One workflow with all that is known of it."""
    site, (source, workflow_id), now = site_of(request), named(request), clock()
    async with site.database.read() as connection:
        row = await queries.workflow_row(connection, source, workflow_id)
        if row is None:
            raise unknown_workflow(source, workflow_id)
        (found,) = with_advice(await queries.as_json(connection, [row], now), site.config)
        transitions = await trail.list_transitions(connection, row["pk"], limit=_MOST)
        evidence = await trail.list_evidence(connection, row["pk"], limit=_MOST)
        deeds = await audit.lines(connection, AuditFilter(source=source, subject=workflow_id, limit=_DEEDS))
        nav = await opened(connection)
    told_by = {one["id"]: one for one in evidence["items"]}
    data = {
        "nav": nav,
        "w": found,
        "configured": source in site.config.sources,
        "runs": timeline(found, transitions["items"], now),
        "transitions": [_learned(one, told_by) for one in transitions["items"]],
        "evidence": evidence["items"],
        "deeds": deeds["items"],
        "more": bool(transitions["next_cursor"] or evidence["next_cursor"]),
        "files": [{**blob, "shown_as": _shown_as(blob)} for blob in found["blobs"]],
        "failed_jobs": [job for job in found["jobs"] if job["error"] or job["reason"]],
    }
    return render(request, "workflow.html", data, files_of=source)


def _learned(transition: JsonObject, told_by: dict[str, JsonObject]) -> JsonObject:
    """Return a transition with the evidence that caused it: `how` it was learned, its number and its trust."""
    evidence = told_by.get(transition["evidence"])
    if evidence is None:
        return {**transition, "how": None, "number": None, "trust": None}
    return {**transition, "how": evidence["kind"], "number": evidence["seq"], "trust": evidence["trust"]}


def _shown_as(blob: JsonObject) -> str | None:
    """Return picture, film or sound; None for what browsers do not show, or what cannot be had."""
    if blob["gone_at"] is not None or blob["available"] is False or not blob["url_confirmed"]:
        return None
    kind = str(blob["type"] or "").lower()
    for words, shown in ((_PICTURES, "picture"), (_FILMS, "film"), (_SOUNDS, "sound")):
        if kind.startswith(words):
            return shown
    return None


@page()
async def document(request: Request) -> Response:
    """The newest whole document upstream gave, as text."""
    site, (source, workflow_id) = site_of(request), named(request)
    found = await document_of(site, source, workflow_id)
    async with site.database.read() as connection:
        nav = await opened(connection)
    data = {
        "nav": nav, "source": source, "id": workflow_id, "evidence": found.evidence, "asked_at": stamp(found.sent_at),
        "text": as_text(site.redactor.bytes(found.body)),
    }  # fmt: skip
    return render(request, "document.html", data)


def as_text(body: bytes) -> str:
    """Return a body as text to read: JSON indented; what is no text, with marks in its place."""
    try:
        value: Any = parse(body)
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except (Unreadable, TypeError):
        return body.decode("utf-8", "replace")


@page()
async def incident(request: Request) -> Response:
    """The report to escalate with."""
    site, (source, workflow_id) = site_of(request), named(request)
    symptom = request.query_params.get("symptom") or None
    problem = None
    async with site.database.read() as connection:
        try:
            found = await incident_of(connection, site.config, site.redactor, source, workflow_id, clock(), symptom)
        except BadSymptom as error:
            problem, found = str(error), {}
        nav = await opened(connection)
    if found is None:
        raise unknown_workflow(source, workflow_id)
    if problem is not None:
        raise Problem("bad-filter", problem)
    data = {
        "nav": nav, "source": source, "id": workflow_id, "symptom": symptom or "",
        "symptoms": [one.name for one in SYMPTOMS],
        "text": orjson.dumps(site.redactor.json(found), option=orjson.OPT_INDENT_2).decode(),
    }  # fmt: skip
    return render(request, "incident.html", data)
