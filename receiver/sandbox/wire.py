"""JSON as it goes over the wire, and what clients send in queries and as addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response


def encode(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer, with the bytes a callback of the same body has."""
    return Response(encode(body), status, headers, media_type="application/json")


def is_web_url(value: object, *, allow_http: bool) -> bool:
    """Whether it is an absolute https (or http) URL."""
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        return False
    return bool(parts.hostname) and parts.scheme in (("https", "http") if allow_http else ("https",))


def number_in(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A number of the query, cut to `low` and `high`; the default when it is none. What these upstreams do beyond
    their limits is not documented."""
    text = request.query_params.get(name, "")
    return min(max(int(text), low), high) if text.isascii() and text.isdecimal() and len(text) < 9 else default
