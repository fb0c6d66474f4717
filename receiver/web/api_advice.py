"""What errors mean, and reports on what went wrong, over HTTP (DESIGN §9)."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.incidents import BadSymptom, incident_of
from receiver.submitting import BadAdvice, advise_on
from receiver.web.answers import answer, clock, site_of
from receiver.web.api_workflows import WORKFLOW
from receiver.web.auth import needs
from receiver.web.parameters import json_body, known, named
from receiver.web.problems import Problem
from receiver.web.waiting import unknown_workflow


def routes() -> list[Route]:
    """Return the routes that advise."""
    return [
        Route("/v1/advice", advice, methods=["POST"]),
        Route(f"{WORKFLOW}/incident", incident, methods=["GET"]),
    ]


@needs("read")
async def advice(request: Request) -> Response:
    """What an error met at submit time means and what to do; nothing is kept."""
    known(request, ())
    site = site_of(request)
    try:
        told = await asyncio.to_thread(advise_on, await json_body(request, dict), site.redactor, clock())
    except BadAdvice as error:
        raise Problem("bad-advice", str(error)) from None
    return answer(site, told)


@needs("read")
async def incident(request: Request) -> Response:
    """The escalation report of a workflow; `symptom` adds what is known of it."""
    known(request, {"symptom"})
    site, (source, workflow_id) = site_of(request), named(request)
    symptom = request.query_params.get("symptom")
    try:
        async with site.database.read() as connection:
            found = await incident_of(connection, site.config, site.redactor, source, workflow_id, clock(), symptom)
    except BadSymptom as error:
        raise Problem("bad-filter", str(error)) from None
    if found is None:
        raise unknown_workflow(source, workflow_id)
    return answer(site, found)
