"""`/v1/attention`: what needs a person, of sources, workflows and deliveries alike."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import acknowledging
from receiver.ledger import overview
from receiver.ledger.database import now as database_now
from receiver.ledger.overview import AttentionFilter
from receiver.providers.ids import is_id
from receiver.web.answers import answer, site_of
from receiver.web.auth import needs
from receiver.web.parameters import flag_of, known, limit_of
from receiver.web.problems import Problem


def routes() -> list[Route]:
    """Return the routes of what needs a person."""
    return [
        Route("/v1/attention", list_attention, methods=["GET"]),
        Route("/v1/attention/{ref}/ack", acknowledge, methods=["POST"]),
    ]


@needs("read")
async def list_attention(request: Request) -> Response:
    """Open reasons for a person to look, the newest first."""
    known(request, {"scope", "kind", "source", "acknowledged", "limit", "cursor"})
    site, query = site_of(request), request.query_params
    wanted = AttentionFilter(
        scope=query.get("scope"),
        kinds=tuple(query.getlist("kind")),
        source=query.get("source"),
        acknowledged=flag_of(request, "acknowledged"),
        limit=limit_of(request),
        cursor=query.get("cursor"),
    )
    async with site.database.read() as connection:
        return answer(site, await overview.list_attention(connection, wanted))


@needs("write")
async def acknowledge(request: Request) -> Response:
    """Say that a person has seen to what a `ref` names. It stays open until its cause is gone; the first to say so
    counts."""
    known(request, ())
    site, ref, told = site_of(request), request.path_params["ref"], None
    if is_id(ref):
        async with site.database.write() as connection:
            who, now = request.state.token.name, await database_now(connection)
            if await acknowledging.acknowledge_row(site.config, connection, ref, who, now) is not None:
                told = await overview.one_attention(connection, ref)
    if told is None:
        raise Problem("no-attention", f"nothing that is open has the ref {ref[:64]!r}")
    return answer(site, told)
