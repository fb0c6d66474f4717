"""Links to one blob, signed and short-lived: made with a token, opened without one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import queries, shares
from receiver.ledger.query_parts import stamp
from receiver.web.answers import answer, clock, site_of
from receiver.web.auditing import written
from receiver.web.auth import Endpoint, needs
from receiver.web.parameters import json_body, known, named_blob, unknown_blob
from receiver.web.problems import Problem, as_answer, problem_of


def routes() -> list[Route]:
    """Return the route that makes a link."""
    return [Route("/v1/blobs/{source}/{id}/share", share, methods=["POST"])]


@needs("read")
async def share(request: Request) -> Response:
    """A link to one file that works for a while for whoever has it, and as long as the token it was made with."""
    known(request, ())
    site, (source, blob_id) = site_of(request), named_blob(request)
    lasts = await json_body(request, _lasts)
    who, now = request.state.token.name, clock()
    until = (now + lasts).replace(microsecond=0)
    async with site.database.read() as connection:
        if source not in site.config.sources or await queries.blob(connection, source, blob_id, now) is None:
            raise unknown_blob(source, blob_id)
        path = await shares.link(connection, source, blob_id, who, until)
    if path is None:
        raise Problem("wrong-token", "this token was revoked")
    await written(site, who, "share", source=source, subject=blob_id, details={"until": stamp(until)})
    base = (site.config.server.public_url or "").rstrip("/")
    return answer(site, {"path": path, "url": f"{base}{path}" if base else None, "expires_at": stamp(until)}, 201)


def _lasts(told: dict[str, Any]) -> timedelta:
    if set(told) - {"seconds"}:
        raise Problem("bad-share", "there is one field here: seconds")
    seconds = told.get("seconds")
    if seconds is None:
        return shares.USUAL
    most = int(shares.LONGEST.total_seconds())
    if type(seconds) is not int or not 1 <= seconds <= most:
        raise Problem("bad-share", f"seconds must be a whole number from 1 to {most}")
    return timedelta(seconds=seconds)


def link_or(guard: Callable[[Endpoint], Endpoint]) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint of one blob be called by a link that `share` made, or else as `guard` allows."""

    def opened(endpoint: Endpoint) -> Endpoint:
        guarded = guard(endpoint)

        @wraps(endpoint)
        async def either(request: Request) -> Response:
            if "proof" not in request.query_params:
                return await guarded(request)
            try:
                await _check(request)
                return await endpoint(request)
            except Exception as error:  # noqa: BLE001 - as in `needs`: this is where errors become answers
                return as_answer(problem_of(error, request.url.path), site_of(request))

        return either

    return opened


async def _check(request: Request) -> None:
    """Return when a request carries a link that is valid now. Raises Problem."""
    site, (source, blob_id) = site_of(request), named_blob(request)
    by, until, proof = (request.query_params.get(name, "") for name in shares.PARAMETERS)
    async with site.database.read() as connection:
        if not await shares.is_valid(connection, source, blob_id, by, until, proof, clock()):
            raise Problem("bad-link", "this link is not one of ours, or its time is over")
