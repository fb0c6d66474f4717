"""How every answer leaves: as JSON, without the values of known secrets, kept by no cache."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from receiver.web.site import Site

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


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
    return Response(orjson.dumps(site.redactor.json(value)), status, {**HEADERS, **(headers or {})}, "application/json")
