"""`/openapi.json` and `/reference`: about the program, not about anybody's workflows, and so open to all."""

from __future__ import annotations

from functools import cache

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.web.answers import NO_PERMISSIONS, tagged_bytes
from receiver.web.openapi.document import document
from receiver.web.openapi.reference import page


def routes() -> list[Route]:
    """Return the routes of the description."""
    return [Route("/openapi.json", openapi, methods=["GET"]), Route("/reference", reference, methods=["GET"])]


@cache
def _json() -> bytes:
    return orjson.dumps(document())


async def openapi(request: Request) -> Response:
    """The OpenAPI 3.1 document."""
    return tagged_bytes(request, _json(), "application/json")


async def reference(request: Request) -> Response:
    """The document as a page."""
    text, policy = page()
    headers = {
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": NO_PERMISSIONS,
    }
    return tagged_bytes(request, text, "text/html; charset=utf-8", headers=headers)
