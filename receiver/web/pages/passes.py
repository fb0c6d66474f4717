"""The runs of the reconciler."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import overview
from receiver.ledger.cursors import BadCursor
from receiver.web.answers import site_of
from receiver.web.pages.guarding import page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.problems import Problem

_PAGE = 50


def routes() -> list[Route]:
    """Return the route of passes."""
    return [Route("/passes", passes, methods=["GET"])]


@page()
async def passes(request: Request) -> Response:
    """Runs of the reconciler, newest first."""
    cursor = request.query_params.get("cursor") or None
    try:
        async with site_of(request).database.read() as connection:
            found = await overview.list_passes(connection, limit=_PAGE, cursor=cursor)
            nav = await opened(connection)
    except BadCursor as error:
        raise Problem("bad-cursor", str(error)) from None
    data = {"nav": nav, "items": found["items"], "older": found["next_cursor"], "cursor": cursor}
    return render(request, "passes.html", data)
