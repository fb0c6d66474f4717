"""What was delivered, what was fetched and decided, and one piece of evidence whole."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import audit
from receiver.ledger import deliveries as ledger
from receiver.ledger.audit import AuditFilter
from receiver.ledger.cursors import BadCursor
from receiver.ledger.deliveries import EvidenceFilter
from receiver.ledger.listing import BadFilter
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.records import EvidenceKind, Outcome
from receiver.web.answers import site_of
from receiver.web.pages.guarding import page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.pages.workflow import as_text
from receiver.web.problems import Problem

_LONGEST_TEXT = 200_000  # characters of a body on a page
_REPLAYS = 10  # shown of one delivery


def routes() -> list[Route]:
    """Return the routes of evidence."""
    return [
        Route("/deliveries", deliveries, methods=["GET"]),
        Route("/evidence/{id}", evidence, methods=["GET"]),
    ]


@page()
async def deliveries(request: Request) -> Response:
    """Deliveries, newest first, by source, outcome and workflow."""
    site, query = site_of(request), request.query_params
    fields = {name: query.get(name, "").strip() for name in ("source", "outcome", "workflow", "kind")}
    cursor = query.get("cursor") or None
    found: JsonObject = {"items": [], "next_cursor": None}
    problem = None
    async with site.database.read() as connection:
        try:
            wanted = EvidenceFilter(
                source=fields["source"] or None,
                kinds=() if fields["kind"] == "any" else (fields["kind"] or str(EvidenceKind.DELIVERY),),
                outcomes=(fields["outcome"],) if fields["outcome"] else (),
                workflow=fields["workflow"] or None,
                cursor=cursor,
            )
            found = await ledger.list_evidence(connection, wanted)
        except (BadFilter, BadCursor) as error:
            problem = str(error)
        nav = await opened(connection)
    kept = {name: value for name, value in fields.items() if value}
    more = urlencode({**kept, "cursor": found["next_cursor"]}) if found["next_cursor"] else None
    data = {
        "nav": nav, "items": found["items"], "problem": problem, "filter": fields, "query": urlencode(kept),
        "cursor": cursor, "older": more, "sources": sorted(site.config.sources),
        "outcomes": [str(one) for one in Outcome], "kinds": [str(one) for one in EvidenceKind],
    }  # fmt: skip
    return render(request, "deliveries.html", data, status=400 if problem else 200)


@page()
async def evidence(request: Request) -> Response:
    """One piece of evidence; what was in it is for those who may see everything."""
    return await evidence_page(request, await known_evidence(request))


async def known_evidence(request: Request) -> JsonObject:
    """Return the evidence that a path names, without its body. Raises Problem `unknown-evidence`."""
    name, found = request.path_params["id"], None
    if name.isalnum() and len(name) <= 64:
        async with site_of(request).database.read() as connection:
            found = await ledger.one(connection, name)
    if found is None:
        raise Problem("unknown-evidence", "there is no evidence of this name; it may have been pruned")
    return found


async def evidence_page(request: Request, found: JsonObject, *, refused: str | None = None) -> Response:
    """Return the page of one piece of evidence; `refused` says why it could not be applied again."""
    site = site_of(request)
    async with site.database.read() as connection:
        may_see = request.state.visitor.may("admin")
        body = await ledger.body_of(connection, found["id"]) if may_see else None
        replays = await audit.lines(connection, AuditFilter(what="replay", subject=found["id"], limit=_REPLAYS))
        nav = await opened(connection)
    text = None if not body else as_text(site.redactor.bytes(body))
    data = {
        "nav": nav, "e": found, "text": None if text is None else text[:_LONGEST_TEXT],
        "cut": text is not None and len(text) > _LONGEST_TEXT, "refused": refused, "replays": replays["items"],
        "can_replay": found["kind"] == EvidenceKind.DELIVERY and found["source"] in site.config.sources,
    }  # fmt: skip
    return render(request, "evidence.html", data, status=409 if refused else 200)
