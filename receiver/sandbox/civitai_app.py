"""The routes of the consumer API (UPSTREAMS §1.2), as a Starlette application around one CivitaiSandbox.

Not there: recipes, uploads, tag routes, archives and streaming blobs. None of them can carry a callback.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from receiver.sandbox import civitai_blobs as blobs
from receiver.sandbox import civitai_workflows as workflows
from receiver.sandbox.civitai_errors import failed_read, invalid, problem
from receiver.sandbox.civitai_requests import BadQuery, NotFound
from receiver.sandbox.civitai_sandbox import CivitaiSandbox
from receiver.sandbox.civitai_template import Invalid
from receiver.sandbox.control import control_routes
from receiver.sandbox.gateway import gateway, read_fault
from receiver.sandbox.recorder import Recorder

Handler = Callable[[CivitaiSandbox, Request], Awaitable[Response]]
ONE = "/v2/consumer/workflows/{id}"
BLOB = "/v2/consumer/blobs/{id}"


def civitai_app(sandbox: CivitaiSandbox) -> Recorder:
    """The whole application, its control surface under `/_sandbox` included."""
    closed: list[tuple[str, str, Handler]] = [
        ("POST", "/v2/consumer/workflows", workflows.submit),
        ("GET", "/v2/consumer/workflows", workflows.query),
        ("GET", ONE, workflows.get_workflow),
        ("PUT", ONE, workflows.update),
        ("PATCH", ONE, workflows.patch),
        ("DELETE", ONE, workflows.delete),
        ("GET", ONE + "/steps/{name}", workflows.get_step),
        ("PUT", ONE + "/steps/{name}", workflows.update_step),
        ("POST", BLOB + "/refresh", blobs.refresh),
    ]
    routes: list[BaseRoute] = [Route(path, guarded(sandbox, do), methods=[method]) for method, path, do in closed]
    routes += [
        Route("/v2/consumer/blobs/content/{id}", anonymous(sandbox, blobs.content_of), methods=["GET"]),
        Route(BLOB, signed_or_guarded(sandbox), methods=["GET"]),
    ]
    return Recorder(Starlette(routes=routes + control_routes(sandbox)), sandbox.clock, sandbox.requests.append)


def anonymous(sandbox: CivitaiSandbox, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Anonymous routes: only an outage stops them."""

    async def endpoint(request: Request) -> Response:
        if sandbox.outage_left() > 0:
            return gateway(503)
        sandbox.catch_up()
        try:
            return await handler(sandbox, request)
        except NotFound:
            return problem(404)

    return endpoint


def guarded(sandbox: CivitaiSandbox, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Outage, faults of reads, bearer token, then the handler; what it raises becomes an answer."""

    async def endpoint(request: Request) -> Response:
        faults = sandbox.faults
        if sandbox.outage_left() > 0:
            return gateway(503)
        if request.method in ("GET", "HEAD") or request.url.path.endswith("/refresh"):
            if faults.latency:
                await asyncio.sleep(faults.latency)
            if fault := read_fault(faults, sandbox.rngs["read"], failed_read):
                return fault
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(), faults.api_key.encode())
        if faults.revoked or scheme.lower() != "bearer" or not right:
            return problem(401, "The bearer token is missing, expired or malformed.")
        sandbox.catch_up()
        try:
            return await handler(sandbox, request)
        except (Invalid, BadQuery) as wrong:
            return invalid(wrong.errors)
        except NotFound:
            return problem(404)

    return endpoint


def signed_or_guarded(sandbox: CivitaiSandbox) -> Callable[[Request], Awaitable[Response]]:
    """`/blobs/{id}` is two things: with `sig` the presigned URL anyone may open, without it GetBlob and HeadBlob."""
    signed, asked = anonymous(sandbox, blobs.content_of), guarded(sandbox, blobs.get_or_head)

    async def endpoint(request: Request) -> Response:
        return await (signed if "sig" in request.query_params else asked)(request)

    return endpoint
