"""`/v1/attention`: what needs a person, of sources, workflows and deliveries alike."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import acknowledging
from receiver.ledger import overview
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import now as database_now
from receiver.ledger.listing import BadFilter
from receiver.ledger.overview import AttentionFilter
from receiver.web.answers import answer, site_of
from receiver.web.auth import needs
from receiver.web.parameters import flag_of, known, limit_of
from receiver.web.problems import Problem

_WORDS = ("scope", "kind", "source")


def routes() -> list[Route]:
    """Return the routes of what needs a person."""
    return [
        Route("/v1/attention", list_attention, methods=["GET"]),
        Route("/v1/attention/{ref}/ack", acknowledge, methods=["POST"]),
    ]


@needs("read")
async def list_attention(request: Request) -> Response:
    """Reasons for a person to look, the newest first; those that are open unless asked for otherwise."""
    known(request, {*_WORDS, "open", "acknowledged", "limit", "cursor"})
    site, query = site_of(request), request.query_params
    opened = flag_of(request, "open")
    try:
        wanted = AttentionFilter(
            **{name: query[name] for name in _WORDS if name in query},
            open=True if opened is None else opened,
            acknowledged=flag_of(request, "acknowledged"),
            limit=limit_of(request),
            cursor=query.get("cursor"),
        )
        async with site.database.read() as connection:
            return answer(site, await overview.list_attention(connection, wanted))
    except BadFilter as error:
        raise Problem("bad-filter", str(error)) from None
    except BadCursor as error:
        raise Problem("bad-cursor", str(error)) from None


@needs("write")
async def acknowledge(request: Request) -> Response:
    """Say that a person has seen to what a `ref` names. It stays open until its cause is gone; the first to say so
    counts."""
    known(request, ())
    site, ref = site_of(request), request.path_params["ref"]
    who = request.state.token.name
    async with site.database.write() as connection:
        now = await database_now(connection)
        if "\0" in ref or await acknowledging.acknowledge_row(site.config, connection, ref, who, now) is None:
            raise Problem("no-attention", f"nothing that is open has the ref {ref[:64]!r}")
        return answer(site, await overview.one_attention(connection, ref))
