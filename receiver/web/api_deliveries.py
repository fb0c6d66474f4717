"""Deliveries over HTTP (DESIGN §8.2): what came in, byte for byte for those who may see it, and once more with today's
code."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import deliveries
from receiver.ledger.deliveries import EvidenceFilter
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.records import EvidenceKind
from receiver.providers.ids import is_id
from receiver.replaying import CannotApply, UnknownEvidence, apply_again
from receiver.web.answers import HEADERS, answer, site_of, tagged
from receiver.web.auth import needs
from receiver.web.parameters import instant_of, known, limit_of
from receiver.web.problems import Problem
from receiver.web.site import Site

_FILTERS = frozenset({"source", "kind", "outcome", "workflow", "since", "until", "limit", "cursor"})
# What a stranger sent is never shown as anything: a browser keeps it as a file, or shows it without rights.
_AS_A_FILE = {"content-security-policy": "sandbox; default-src 'none'", "cross-origin-resource-policy": "same-origin"}


def routes() -> list[Route]:
    """Return the routes of deliveries."""
    return [
        Route("/v1/deliveries", list_deliveries, methods=["GET"]),
        Route("/v1/deliveries/{id}", delivery, methods=["GET"]),
        Route("/v1/deliveries/{id}/body", body, methods=["GET"]),
        Route("/v1/deliveries/{id}/replay", replay, methods=["POST"]),
    ]


@needs("read")
async def list_deliveries(request: Request) -> Response:
    """Deliveries across workflows, newest first; `kind` tells of fetches and decisions too."""
    known(request, _FILTERS)
    site, query = site_of(request), request.query_params
    wanted = EvidenceFilter(
        source=query.get("source"),
        kinds=tuple(query.getlist("kind")) or (EvidenceKind.DELIVERY,),
        outcomes=tuple(query.getlist("outcome")),
        workflow=query.get("workflow"),
        since=instant_of(request, "since"),
        until=instant_of(request, "until"),
        limit=limit_of(request),
        cursor=query.get("cursor"),
    )
    async with site.database.read() as connection:
        return answer(site, await deliveries.list_evidence(connection, wanted))


@needs("read")
async def delivery(request: Request) -> Response:
    """One delivery with its headers, without its body."""
    known(request, ())
    return tagged(request, await delivery_of(site_of(request), request.path_params["id"]))


async def delivery_of(site: Site, evidence_id: str) -> JsonObject:
    """Return one piece of evidence without its body. Raises Problem `unknown-delivery`."""
    found = None
    if is_id(evidence_id):
        async with site.database.read() as connection:
            found = await deliveries.one(connection, evidence_id)
    if found is None:
        raise Problem("unknown-delivery", f"no delivery {evidence_id[:64]!r} is known")
    return found


@needs("admin")
async def body(request: Request) -> Response:
    """What was received, byte for byte except for secrets, as a file to keep."""
    known(request, ())
    site, name = site_of(request), request.path_params["id"]
    found = await delivery_of(site, name)
    async with site.database.read() as connection:
        content = await deliveries.body_of(connection, found["id"])
    if content is None:
        raise Problem("no-body", "this has no body, or it was pruned; its hash is kept")
    headers = {
        **HEADERS,
        **_AS_A_FILE,
        "content-disposition": f'attachment; filename="{found["id"]}.bin"',
        "hookledger-sha256": found["body_sha256"] or "",
    }
    return Response(site.redactor.bytes(content), 200, headers, "application/octet-stream")


@needs("write")
async def replay(request: Request) -> Response:
    """Read a delivery with today's code and apply it again: for one that could not be read when it came."""
    known(request, ())
    site, name = site_of(request), request.path_params["id"]
    found = await delivery_of(site, name)
    who = request.state.token.name
    return answer(site, await replay_now(site, who, found))


async def replay_now(site: Site, who: str, found: JsonObject) -> JsonObject:
    """Apply a delivery again in the name of `who`; returns what became of it. Raises Problem `cannot-replay`."""
    try:
        result = await apply_again(site.config, site.database, found["id"], who=who)
    except UnknownEvidence:
        raise Problem("unknown-delivery", f"no delivery {found['id'][:64]!r} is known") from None
    except CannotApply as error:
        raise Problem("cannot-replay", str(error)) from None
    workflow = result.state.id if result.state is not None else None
    return {
        "delivery": found["id"],
        "outcome": str(result.outcome),
        "evidence": result.evidence,
        "source": found["source"],
        "workflow": workflow,
    }
