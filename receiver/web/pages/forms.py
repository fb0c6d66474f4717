"""What a form of ours sends, under caps of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from receiver.web.problems import Problem

_LARGEST = 64 * 2**10  # bytes
_FIELDS = 50
_WITHIN = 10.0  # seconds


async def form_of(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; of a field that is there twice, the last. Raises Problem."""
    body = bytearray()
    try:
        async with asyncio.timeout(_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LARGEST:
                    raise Problem("too-large", f"a form is no larger than {_LARGEST} bytes")
    except TimeoutError:
        raise Problem("timeout", "the form did not arrive in time") from None
    except ClientDisconnect:
        raise Problem("bad-request", "the form did not arrive whole") from None
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"))
    except ValueError:
        raise Problem("bad-request", "this is no form of ours") from None


def place(text: str | None, otherwise: str = "/") -> str:
    """Return a path of this server to go on to; anything else, such as another host's, becomes `otherwise`."""
    if text is None or len(text) > 2000 or not text.startswith("/") or not text.isascii() or not text.isprintable():
        return otherwise
    # Browsers take `//host` and `/\\host` for other hosts.
    return otherwise if text[1:2] in ("/", "\\") or " " in text else text
