"""Who did what by hand, with the dashboard, with a token or on the command line."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import audit as ledger
from receiver.ledger.audit import AuditFilter
from receiver.ledger.cursors import BadCursor
from receiver.ledger.forgetting import FORGOTTEN
from receiver.ledger.listing import BadFilter
from receiver.ledger.query_parts import JsonObject
from receiver.web.answers import site_of
from receiver.web.pages.guarding import page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.pages.words import seg

_FIELDS = ("who", "what", "subject")


def routes() -> list[Route]:
    """Return the route of what people did."""
    return [Route("/audit", audit, methods=["GET"])]


@page()
async def audit(request: Request) -> Response:
    """Every write by a person, newest first, by who, what and on what."""
    query = request.query_params
    fields = {name: query.get(name, "").strip() for name in _FIELDS}
    kept = {name: value for name, value in fields.items() if value}
    cursor = query.get("cursor") or None
    found: JsonObject = {"items": [], "next_cursor": None}
    problem = None
    async with site_of(request).database.read() as connection:
        try:
            found = await ledger.lines(connection, AuditFilter(**kept, limit=50, cursor=cursor))
        except (BadFilter, BadCursor) as error:
            problem = str(error)
        nav = await opened(connection)
    more = urlencode({**kept, "cursor": found["next_cursor"]}) if found["next_cursor"] else None
    items = [{**one, "href": _href(one)} for one in found["items"]]
    data = {
        "nav": nav, "items": items, "problem": problem, "filter": fields, "query": urlencode(kept),
        "cursor": cursor, "older": more, "verbs": list(ledger.VERBS),
    }  # fmt: skip
    return render(request, "audit.html", data, status=400 if problem else 200)


def _href(line: JsonObject) -> str | None:
    """Return the address of what something was done to, None when it has no page."""
    source, subject, what = line["source"], line["subject"], line["what"]
    scope = (line["details"] or {}).get("scope", "workflow")
    if not subject or not source or subject == FORGOTTEN:
        return None
    if what == "replay" or (what == "acknowledge" and scope == "delivery"):
        return f"/evidence/{seg(subject)}"
    if what == "share":
        return f"/blobs/{seg(source)}/{seg(subject)}"
    if what in ("track", "refetch", "correct") or (what == "acknowledge" and scope == "workflow"):
        return f"/workflows/{seg(source)}/{seg(subject)}"
    return None
