"""Serving files as a CDN does: strong ETags, ranges, If-Range; and as slowly, or as badly, as one is asked to."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from receiver.sandbox.media import content, content_type
from receiver.sandbox.upstream_faults import UpstreamFaults

_PIECE = 16 * 1024
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})", re.ASCII)


class BrokenOff(ConnectionError):
    """The sandbox breaks a connection off on purpose, in the middle of a file."""


def file_response(request: Request, name: str, faults: UpstreamFaults, rng: random.Random) -> Response:
    """Return a file, or the part of it that is asked for. RFC 9110, sections 13 and 14."""
    data = padded(content(name), name, faults.file_size)
    etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
    headers = {"etag": etag, "content-type": content_type(name)}
    start, end = 0, len(data)
    asked = _RANGE.fullmatch(request.headers.get("range", "")) if faults.file_ranges else None
    if faults.file_ranges:
        headers["accept-ranges"] = "bytes"
    if asked is not None and request.headers.get("if-range", etag) == etag:
        start = int(asked[1])
        if start >= len(data):
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{len(data)}"})
        end = min(int(asked[2]) + 1, len(data)) if asked[2] else len(data)
        headers["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
    headers["content-length"] = str(end - start)
    status = 206 if "content-range" in headers else 200
    if not faults.file_rate and not faults.file_broken.hit(rng):
        return Response(data[start:end], status, headers)
    stop = end if faults.file_rate else (start + end) // 2
    return StreamingResponse(_slowly(data[start:end], stop - start, faults.file_rate), status, headers)


async def _slowly(data: bytes, most: int, rate: int) -> AsyncIterator[bytes]:
    for at in range(0, most, _PIECE):
        piece = data[at : min(at + _PIECE, most)]
        if rate:
            await asyncio.sleep(len(piece) / rate)
        yield piece
    if most < len(data):
        raise BrokenOff


def padded(data: bytes, name: str, size: int) -> bytes:
    """Return a file made longer, up to `size` bytes, by bytes that follow from its name: a mix-up is seen anywhere."""
    if len(data) >= size:
        return data
    return data + hashlib.shake_128(name.encode()).digest(size - len(data))
