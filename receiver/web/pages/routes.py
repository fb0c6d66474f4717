"""The dashboard's routes, put together."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from receiver.ledger import overview
from receiver.web.answers import site_of
from receiver.web.pages import (
    attention,
    audit,
    deliveries,
    login,
    passes,
    replay,
    sources,
    statics,
    steering,
    workflow,
    workflows,
)
from receiver.web.pages.guarding import page, problem_page, to_login
from receiver.web.pages.tries import Tries
from receiver.web.problems import Handler, Problem, answer_error
from receiver.web.visitors import visitor_of

_NOT_FOR_PEOPLE = ("/v1", "/hooks", "/blobs", "/static", "/metrics", "/healthz", "/readyz", "/openapi")


def routes() -> list[Route]:
    """Return every route of the dashboard."""
    return [
        Route("/", first, methods=["GET"]),
        *login.routes(Tries()),
        *statics.routes(),
        *attention.routes(),
        *workflows.routes(),
        *workflow.routes(),
        *steering.routes(),
        *sources.routes(),
        *deliveries.routes(),
        *passes.routes(),
        *replay.routes(),
        *audit.routes(),
    ]


@page()
async def first(request: Request) -> Response:
    """What needs a person when anything does, else the workflows."""
    async with site_of(request).database.read() as connection:
        waiting = await overview.unacknowledged(connection)
    return RedirectResponse("/attention" if waiting else "/workflows", 303, {"cache-control": "no-store"})


def for_people(otherwise: Handler = answer_error) -> Handler:
    """Return a handler of HTTP's own errors that shows a page to a person who has mistyped an address, and leaves
    everything else to `otherwise`."""

    async def handle(request: Request, error: Exception) -> Response:
        path = request.scope.get("path", "")
        missing = isinstance(error, HTTPException) and error.status_code == 404 and request.method == "GET"
        if not missing or path.startswith(_NOT_FOR_PEOPLE) or "text/html" not in request.headers.get("accept", ""):
            return await otherwise(request, error)
        request.state.visitor = visitor = await visitor_of(request)
        if visitor is None:
            return to_login(request)
        return problem_page(request, Problem("not-found", "there is nothing at this address"))

    return handle
