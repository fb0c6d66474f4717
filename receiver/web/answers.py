"""How every answer leaves: as JSON, without the values of known secrets, kept by no cache."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from receiver.web.site import Site

# No answer is another site's to embed or a search engine's to list, and none is a page that could do anything.
CLOSED = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
}
NO_PERMISSIONS = "camera=(), microphone=(), geolocation=(), payment=(), usb=()"  # for what is shown as a page
HEADERS = {"cache-control": "no-store", **CLOSED}
# May be kept by whoever asked, and must be asked about before it is used again.
KEEPABLE = {"cache-control": "private, no-cache", **CLOSED, "vary": "authorization, cookie"}


def site_of(request: Request) -> Site:
    """Return the parts of the running receiver that a request belongs to."""
    site: Site = request.app.state.site
    return site


def clock() -> datetime:
    """Return this machine's clock, aware and UTC."""
    return datetime.now(UTC)


def answer(site: Site, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON data as an answer. Secrets are looked for in the data, not in its encoding: a secret that is a number
    must not leave broken JSON behind."""
    return Response(_encoded(site, value), status, {**HEADERS, **(headers or {})}, "application/json")


async def answer_large(site: Site, value: Any, status: int = 200) -> Response:
    """Return JSON data as `answer` does, made in a thread: there is no telling how large it is."""
    return Response(await asyncio.to_thread(_encoded, site, value), status, HEADERS, "application/json")


async def tagged_large(request: Request, value: Any, status: int = 200) -> Response:
    """Return JSON data as `tagged` does, made in a thread."""
    body = await asyncio.to_thread(_encoded, site_of(request), value)
    return tagged_bytes(request, body, "application/json", status)


def _encoded(site: Site, value: Any) -> bytes:
    return orjson.dumps(site.redactor.json(value))


def tagged(request: Request, value: Any, status: int = 200) -> Response:
    """Return JSON data about a single thing, with an ETag; 304 when the request names that of this very answer."""
    return tagged_bytes(request, _encoded(site_of(request), value), "application/json", status)


def tagged_bytes(
    request: Request, body: bytes, media: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return bytes with an ETag, as `tagged` does. They must hold no secret any more."""
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    given = {**KEEPABLE, **(headers or {}), "etag": tag}
    if status == 200 and holds(request, tag):
        return Response(None, 304, given)
    return Response(body, status, given, media)


def holds(request: Request, tag: str) -> bool:
    """Whether a client has what a tag names (`If-None-Match`, where weak compares as strong: RFC 9110 §13.1.2)."""
    header = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/") in ("*", tag) for one in header.split(","))
