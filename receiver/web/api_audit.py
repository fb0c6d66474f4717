"""`/v1/audit`: who changed what by hand."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import audit
from receiver.ledger.audit import AuditFilter
from receiver.web.answers import answer, site_of
from receiver.web.auth import needs
from receiver.web.parameters import known, limit_of

_FILTERS = ("who", "what", "source", "subject")


def routes() -> list[Route]:
    """Return the route of what people did."""
    return [Route("/v1/audit", list_audit, methods=["GET"])]


@needs("read")
async def list_audit(request: Request) -> Response:
    """Every write by a person or by a program with a person's token, newest first."""
    known(request, {*_FILTERS, "limit", "cursor"})
    site, query = site_of(request), request.query_params
    given = {name: query[name] for name in _FILTERS if name in query}
    wanted = AuditFilter(**given, limit=limit_of(request), cursor=query.get("cursor"))
    async with site.database.read() as connection:
        return answer(site, await audit.lines(connection, wanted))
