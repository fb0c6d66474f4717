"""Serving what has been copied, from a folder or a bucket, through this receiver.

Not by a signed redirect to the bucket: that would hand on an address which works without our token, would need a bucket
that browsers can reach, and would leave to it how a file is shown. Files come from strangers: none may become active
content on the dashboard's origin.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from receiver.ledger import copies
from receiver.logs import log_event
from receiver.shelves import Shelf, ShelfTrouble
from receiver.web.answers import holds
from receiver.web.site import Site

# What a browser shows and cannot be made to run anything by; SVG, PDF and HTML are not among them.
SHOWN = frozenset(
    {
        "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "video/mp4", "video/webm",
        "video/quicktime", "video/ogg", "audio/mpeg", "audio/ogg", "audio/wav", "audio/x-wav", "audio/webm",
        "audio/mp4", "audio/aac", "audio/flac",
    }
)  # fmt: skip
_FENCED = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-cache",
    "accept-ranges": "bytes",
}
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


async def served(site: Site, request: Request, source: str, blob_id: str) -> Response | None:
    """Return the answer with a file's copy; None when there is none, or when it cannot be had just now."""
    if site.shelf is None or source not in site.config.sources:
        return None
    async with site.database.read() as connection:
        row = await copies.kept(connection, source, blob_id)
    if row is None:
        return None
    headers = {**_FENCED, **_described(row)}
    if holds(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    size = int(row["size"])
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", headers["etag"]) != headers["etag"]:
        wanted = ""
    span = _span(wanted, size)
    if span is None:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
    start, end = span
    headers["content-length"] = str(end - start)
    if (start, end) != (0, size):
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if "content-range" in headers else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return await _streamed(site.shelf, row, start, end, status, headers)


async def _streamed(
    shelf: Shelf, row: Any, start: int, end: int, status: int, headers: dict[str, str]
) -> Response | None:
    """Return the answer once its first bytes are there: what is lost is noticed while another answer can be given."""
    pieces = shelf.read(row["place"], start, end)
    try:
        first = await anext(pieces, b"")
    except ShelfTrouble as error:
        log_event("copy-lost", level="error", source=row["source"], blob=row["blob"], message=str(error))
        return None

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(pieces):  # type: ignore[type-var]
            yield first
            async for piece in pieces:
                yield piece

    return StreamingResponse(body(), status_code=status, headers=headers)


def _described(row: Any) -> dict[str, str]:
    """Return the headers that say what a copy is: shown only where nothing can come of it, else to be saved."""
    stated = str(row["type"] or "").partition(";")[0].strip().lower()
    inline = stated in SHOWN
    # What an id holds besides plain ASCII goes into the second form alone (RFC 6266).
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", row["blob"])
    name = f"filename=\"{plain}\"; filename*=UTF-8''{quote(row['blob'], safe='')}"
    return {
        "content-type": stated if inline else "application/octet-stream",
        "content-disposition": f"{'inline' if inline else 'attachment'}; {name}",
        "etag": f'"{row["sha256"]}"',
    }


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Return which bytes a Range header asks for, the end exclusive; None when there are none such.

    What is not one plain range of bytes may be passed over (RFC 9110, 14.2): then it is all of them.
    """
    asked = _RANGE.fullmatch(header.strip())
    if asked is None or asked[1] == asked[2] == "":
        return 0, size
    if asked[1] == "":
        count = int(asked[2])
        return (max(size - count, 0), size) if count and size else None
    start = int(asked[1])
    end = min(int(asked[2]) + 1, size) if asked[2] else size
    if asked[2] and int(asked[2]) < start:
        return 0, size
    return (start, end) if start < size else None
