"""What needs a person, by its cause, with what to do about it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import overview
from receiver.web.answers import site_of
from receiver.web.pages.guarding import page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.pages.wording import CAUSES

_MOST = 10  # shown of one kind; the list of workflows shows them all


def routes() -> list[Route]:
    """Return the route of attention."""
    return [Route("/attention", attention, methods=["GET"])]


@page()
async def attention(request: Request) -> Response:
    """Every reason for a person to look that is open, grouped by cause."""
    site = site_of(request)
    async with site.database.read() as connection:
        found = await overview.attention_by_kind(connection, _MOST)
        nav = await opened(connection)
    order = [*CAUSES, *sorted(set(found) - set(CAUSES))]
    groups = [{"kind": kind, **found[kind]} for kind in order if kind in found]
    data = {"nav": nav, "groups": groups, "sources": sorted(site.config.sources)}
    return render(request, "attention.html", data)
