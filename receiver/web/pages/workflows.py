"""The list of workflows."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.advising import with_advice
from receiver.ledger import audit, listing, saved_links
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import now as database_now
from receiver.ledger.listing import BadFilter
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.saved_links import BadLink
from receiver.web.answers import clock, site_of
from receiver.web.pages import said
from receiver.web.pages.filters import SPANS, PageFilter
from receiver.web.pages.guarding import button, onward, page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.problems import Problem

_LONGEST_NAME = 60  # characters of a link's name


def routes() -> list[Route]:
    """Return the routes of the list and of its saved links."""
    return [
        Route("/workflows", workflows, methods=["GET"]),
        Route("/workflows/links", save_link, methods=["POST"]),
        Route("/workflows/links/remove", remove_link, methods=["POST"]),
    ]


@page()
async def workflows(request: Request) -> Response:
    """Workflows that match the filters in the address, newest first."""
    site = site_of(request)
    asked = PageFilter.read(request.url.query)
    found: JsonObject = {"items": [], "next_cursor": None}
    problem = None
    async with site.database.read() as connection:
        try:
            found = await listing.list_workflows(connection, asked.wanted(clock()), clock())
        except (BadFilter, BadCursor) as error:
            problem = str(error)
        links = await saved_links.listing(connection)
        nav = await opened(connection)
    data = {
        "nav": nav,
        "items": [_row(one) for one in with_advice(found["items"], site.config)],
        "problem": problem,
        "older": asked.at(found["next_cursor"]) if found["next_cursor"] else None,
        "query": asked.query,
        "cursor": asked.cursor,
        "filter": {name: asked.one(name) for name in ("q", "source", "state", "attention", "step_type", "since")},
        "statuses": list(asked.several("status")),
        "sources": sorted(site.config.sources),
        "spans": list(SPANS),
        "links": links,
    }
    return render(request, "workflows.html", data, status=400 if problem else 200)


def _row(one: JsonObject) -> JsonObject:
    """Return what the list shows of a workflow."""
    types = [str(step["type"]) for step in one["steps"] if step["type"]]
    return {
        **{name: one[name] for name in (
            "source", "id", "status", "terminal", "confirmed_at", "first_seen_at", "finished_at", "completed_at",
            "submitted_at", "progress", "attention", "advice", "run", "reason", "model", "context", "upstream_status",
        )},
        "what": one["model"] or ", ".join(_unique(types)) or None,
        "files": len(one["blobs"]),
    }  # fmt: skip


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


@button("write")
async def save_link(request: Request) -> Response:
    """Give the present filters a name, for everybody."""
    form = request.state.form
    query = PageFilter.read(form.get("query", "")).query
    try:
        async with site_of(request).database.write() as connection:
            now = await database_now(connection)
            name, who = form.get("name", "").strip(), request.state.visitor.name
            await saved_links.save(connection, name, query, who, now)
            await audit.note(connection, who, "save link", now, subject=name)
    except BadLink as error:
        raise Problem("bad-request", str(error)) from None
    response = onward(request, f"/workflows?{query}")
    said.say(request, response, "saved")
    return response


@button("write")
async def remove_link(request: Request) -> Response:
    """Remove a saved link."""
    name = request.state.form.get("name", "")[:_LONGEST_NAME]
    async with site_of(request).database.write() as connection:
        if await saved_links.remove(connection, name):
            now = await database_now(connection)
            await audit.note(connection, request.state.visitor.name, "remove link", now, subject=name)
    response = onward(request, "/workflows")
    said.say(request, response, "removed")
    return response
