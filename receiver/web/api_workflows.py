"""Reading workflows and jobs over HTTP (DESIGN §8.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.advising import with_advice
from receiver.ledger import listing, queries, trail
from receiver.ledger.queries import Pulse
from receiver.ledger.query_parts import JsonObject, stamp
from receiver.web.answers import answer, answer_large, clock, site_of, tagged, tagged_bytes, tagged_large
from receiver.web.auth import needs
from receiver.web.documents import document_of
from receiver.web.parameters import (
    job_filter,
    known,
    limit_of,
    named,
    named_blob,
    unknown_blob,
    wait_of,
    workflow_filter,
)
from receiver.web.problems import Problem
from receiver.web.site import Site
from receiver.web.waiting import pulse_of, unknown_workflow, wait_until

WORKFLOW = "/v1/workflows/{source}/{id}"


def routes() -> list[Route]:
    """Return the routes that read."""
    return [
        Route("/v1/workflows", list_workflows, methods=["GET"]),
        Route(WORKFLOW, workflow, methods=["GET"]),
        Route(f"{WORKFLOW}/transitions", transitions, methods=["GET"]),
        Route(f"{WORKFLOW}/evidence", evidence, methods=["GET"]),
        Route(f"{WORKFLOW}/document", document, methods=["GET"]),
        Route("/v1/jobs", list_jobs, methods=["GET"]),
        Route("/v1/blobs/{source}/{id}", blob, methods=["GET"]),
    ]


@needs("read")
async def list_workflows(request: Request) -> Response:
    """Workflows that match the filters, newest first."""
    site, wanted = site_of(request), workflow_filter(request)
    async with site.database.read() as connection:
        found = await listing.list_workflows(connection, wanted, clock())
    items = with_advice(found["items"], site.config)
    return await answer_large(site, {**found, "items": items})


@needs("read")
async def list_jobs(request: Request) -> Response:
    """Jobs across workflows, newest first."""
    site, wanted = site_of(request), job_filter(request)
    async with site.database.read() as connection:
        return answer(site, await listing.list_jobs(connection, wanted))


@needs("read")
async def workflow(request: Request) -> Response:
    """One workflow. With `wait` (seconds) upstream is asked first, and the answer is 200 once the workflow has changed
    (`until=changed`, the default) or ended (`until=terminal`); 202, as things stand, when it has not by then."""
    known(request, {"wait", "until"})
    site, (source, workflow_id) = site_of(request), named(request)
    until, seconds = request.query_params.get("until", "changed"), wait_of(request)
    if until not in ("changed", "terminal"):
        raise Problem("bad-filter", "until must be changed or terminal")
    met = True
    if seconds is not None:
        met = await _wait(site, source, workflow_id, seconds, terminal=until == "terminal")
    return await tagged_large(request, await workflow_now(site, source, workflow_id), 200 if met else 202)


async def _wait(site: Site, source: str, workflow_id: str, seconds: float, *, terminal: bool) -> bool:
    before = await pulse_of(site, source, workflow_id)
    if before.terminal and (terminal or before.confirmed):
        return True

    def met(pulse: Pulse, wished: datetime) -> bool:
        return pulse.terminal if terminal else pulse.changes != before.changes

    return await wait_until(site, source, workflow_id, met, seconds, keep_asking=terminal)


async def workflow_now(site: Site, source: str, workflow_id: str) -> JsonObject:
    """Return one workflow as JSON. Raises Problem `unknown-workflow`."""
    async with site.database.read() as connection:
        found = await queries.workflow(connection, source, workflow_id, clock())
    if found is None:
        raise unknown_workflow(source, workflow_id)
    return with_advice([found], site.config)[0]


@needs("read")
async def transitions(request: Request) -> Response:
    """A workflow's timeline, oldest first."""
    return await _trail(request, trail.list_transitions)


@needs("read")
async def evidence(request: Request) -> Response:
    """A workflow's deliveries, fetches and decisions, oldest first, without their bodies."""
    return await _trail(request, trail.list_evidence)


async def _trail(request: Request, listed: Callable[..., Awaitable[JsonObject]]) -> Response:
    known(request, {"limit", "cursor"})
    site, (source, workflow_id) = site_of(request), named(request)
    limit, cursor = limit_of(request), request.query_params.get("cursor")
    async with site.database.read() as connection:
        row = await queries.workflow_row(connection, source, workflow_id)
        if row is None:
            raise unknown_workflow(source, workflow_id)
        return answer(site, await listed(connection, row["pk"], limit=limit, cursor=cursor))


@needs("read")
async def document(request: Request) -> Response:
    """The newest whole document upstream gave of a workflow, byte for byte except for secrets."""
    known(request, ())
    site, (source, workflow_id) = site_of(request), named(request)
    found = await document_of(site, source, workflow_id)
    headers = {"hookledger-evidence": found.evidence, "hookledger-asked-at": stamp(found.sent_at) or ""}
    return tagged_bytes(request, site.redactor.bytes(found.body), "application/json", headers=headers)


@needs("read")
async def blob(request: Request) -> Response:
    """What is known of one output file."""
    known(request, ())
    site, (source, blob_id) = site_of(request), named_blob(request)
    async with site.database.read() as connection:
        found = await queries.blob_details(connection, source, blob_id, clock())
    if found is None:
        raise unknown_blob(source, blob_id)
    return tagged(request, found)
