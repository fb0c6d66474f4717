"""Scripts, styles and pictures of the dashboard, from memory, under names that change with what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.web.answers import holds

_TYPES = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Static:
    """One file; `mark` tells this content from any other."""

    body: bytes
    kind: str
    mark: str


@cache
def statics() -> dict[str, Static]:
    """Return what there is by its path below `/static/`, read once."""
    return dict(_read(files("receiver.web").joinpath("static"), ""))


def _read(folder: Traversable, prefix: str) -> list[tuple[str, Static]]:
    found: list[tuple[str, Static]] = []
    for one in folder.iterdir():
        if one.is_dir():
            found += _read(one, f"{prefix}{one.name}/")
        elif (kind := _TYPES.get(one.name.rpartition(".")[2])) is not None:
            body = one.read_bytes()
            found.append((prefix + one.name, Static(body, kind, sha256(body).hexdigest()[:16])))
    return found


def address_of(name: str) -> str:
    """Return the address of a file, for a page. Raises KeyError for one that is not there."""
    return f"/static/{name}?v={statics()[name].mark}"


def routes() -> list[Route]:
    """Return the route of `/static`. It needs no login: the login page is made of it."""
    return [Route("/static/{name:path}", static, methods=["GET", "HEAD"])]


async def static(request: Request) -> Response:
    """One file; kept for ever by the browser when asked for by its content."""
    found = statics().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    headers = {
        "cache-control": _FOR_EVER if request.query_params.get("v") == found.mark else "no-cache",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "etag": f'"{found.mark}"',
    }
    if holds(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(found.body, 200, headers, found.kind)
