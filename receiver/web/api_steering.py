"""Steering over HTTP (DESIGN §8.2): register a workflow, have upstream asked, say that a person has seen to it."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import acknowledging
from receiver.ledger.database import now as database_now
from receiver.ledger.entries import Entry
from receiver.ledger.queries import Pulse
from receiver.ledger.query_parts import attention_json, stamp
from receiver.ledger.records import Outcome
from receiver.ledger.tables import ATTENTION_KINDS
from receiver.logs import log_event
from receiver.tracking import BadTrack, track_entry
from receiver.web.answers import answer, answer_large, clock, site_of
from receiver.web.api_workflows import WORKFLOW, workflow_now
from receiver.web.auth import needs
from receiver.web.parameters import json_body, known, named, wait_of
from receiver.web.problems import Problem
from receiver.web.site import Site
from receiver.web.waiting import pulse_of, wait_until, wish


def routes() -> list[Route]:
    """Return the routes that change something."""
    return [
        Route("/v1/workflows", track, methods=["POST"]),
        Route(f"{WORKFLOW}/refetch", refetch, methods=["POST"]),
        Route(f"{WORKFLOW}/attention/{{kind}}/ack", acknowledge, methods=["POST"]),
    ]


@needs("write")
async def track(request: Request) -> Response:
    """Register a submitted workflow: 201 when it is new to us, 200 when what is known was added to."""
    known(request, ())
    site = site_of(request)
    entry = await json_body(request, partial(_entry, site))
    entry.tracked_by = request.state.token.name
    result = await site.intake.submit(entry)
    if result.outcome is Outcome.QUARANTINED or entry.workflow_id is None:
        raise Problem("bad-track", "the ledger could not take this; it was kept for a person to look at")
    if result.outcome is not Outcome.DUPLICATE:
        log_event("written", who=entry.tracked_by, what="track", source=entry.source, subject=entry.workflow_id)
    return await _workflow(site, entry.source, entry.workflow_id, 201 if result.created else 200)


def _entry(site: Site, told: dict[str, Any]) -> Entry:
    if isinstance(told.get("source"), str):
        _configured(site, told["source"])
    try:
        return track_entry(told, site.config, site.redactor, clock())
    except BadTrack as error:
        raise Problem("bad-track", str(error)) from None


async def _workflow(site: Site, source: str, workflow_id: str, status: int) -> Response:
    return await answer_large(site, await workflow_now(site, source, workflow_id), status)


@needs("write")
async def refetch(request: Request) -> Response:
    """Have upstream asked now. 202 at once; with `wait` (seconds) 200 and the workflow once a look has finished, 202
    and the workflow as it stands when none has by then."""
    known(request, {"wait"})
    site, (source, workflow_id) = site_of(request), named(request)
    seconds, who = wait_of(request), request.state.token.name
    _configured(site, source)
    if seconds is None:
        pulse = await pulse_of(site, source, workflow_id)
        at = await wish(site, source, workflow_id, pulse.pk, who)
        return answer(site, {"source": source, "id": workflow_id, "wanted_at": stamp(at)}, 202)
    met = await wait_until(site, source, workflow_id, Pulse.answered, seconds, who=who)
    return await _workflow(site, source, workflow_id, 200 if met else 202)


@needs("write")
async def acknowledge(request: Request) -> Response:
    """Say that a person has seen to a workflow's attention of one kind. It stays open until its cause is gone."""
    known(request, ())
    site, (source, workflow_id) = site_of(request), named(request)
    kind, who = request.path_params["kind"], request.state.token.name
    if kind not in ATTENTION_KINDS:
        raise Problem("no-attention", f"there is no kind {kind[:40]!r}; there are {', '.join(ATTENTION_KINDS)}")
    _configured(site, source)
    await pulse_of(site, source, workflow_id)
    async with site.database.write() as connection:
        now = await database_now(connection)
        row = await acknowledging.acknowledge(site.config, connection, source, workflow_id, kind, who, now)
        if row is None:
            raise Problem("no-attention", f"no attention {kind} is open for this workflow")
    return answer(site, attention_json(row))


def _configured(site: Site, source: str) -> None:
    if source not in site.config.sources:
        raise Problem("unknown-source", f"no source is named {source[:64]!r}")
