"""Errors as answers: RFC 9457 `application/problem+json`, made in one place, with nothing of our insides in them.

A problem's `type` is a path relative to this server, `/problems/<name>`; the names and what they mean are KINDS.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from receiver.intake import IntakeFull, IntakeUnavailable
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import LedgerError
from receiver.ledger.engines import DRIVERS_OWN
from receiver.ledger.listing import BadFilter
from receiver.logs import log_event, without_query
from receiver.web.answers import HEADERS
from receiver.web.site import Site

# name -> (status, title)
KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be understood"),
    "bad-filter": (400, "A filter cannot be right"),
    "bad-cursor": (400, "The cursor is not one of this list's"),
    "bad-track": (422, "This cannot be tracked"),
    "bad-advice": (422, "There is no advice on this"),
    "bad-share": (422, "This cannot be shared like this"),
    "no-token": (401, "A token is needed"),
    "wrong-token": (401, "The token is not valid"),
    "scope": (403, "The token may not do this"),
    "bad-link": (403, "The link is not valid"),
    "unknown-source": (404, "There is no such source"),
    "unknown-workflow": (404, "There is no such workflow"),
    "unknown-blob": (404, "There is no such blob"),
    "unknown-delivery": (404, "There is no such delivery"),
    "no-body": (404, "Its body is not kept"),
    "no-document": (404, "Upstream has not shown this workflow yet"),
    "no-attention": (404, "There is no such attention open"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This method is not for this address"),
    "timeout": (408, "The request took too long to arrive"),
    "blob-unavailable": (409, "Upstream shows no address for this file"),
    "cannot-replay": (409, "This cannot be applied again"),
    "blob-gone": (410, "The file is gone"),
    "too-large": (413, "The request is too large"),
    "internal": (500, "Something went wrong inside"),
    "no-reconciler": (503, "Nobody is there to ask upstream"),
    "upstream-busy": (503, "Upstream does not answer"),
    "too-many-streams": (503, "Too many streams are open"),
    "database": (503, "The ledger cannot be reached"),
    "http": (0, "The request was refused"),
}
# What only the dashboard's pages say.
ON_PAGES: dict[str, tuple[int, str]] = {
    "cross-site": (403, "This did not come from a page of ours"),
    "unknown-evidence": (404, "There is no such evidence"),
    "too-many-tries": (429, "Too many tries"),
}


class Problem(Exception):
    """An answer that is an error. `kind` is of KINDS or ON_PAGES, `detail` a sentence for whoever asked; no secret."""

    def __init__(self, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = KINDS.get(kind) or ON_PAGES[kind]
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra


Handler = Callable[[Request, Exception], Awaitable[Response]]


def exception_handlers() -> dict[Any, Handler]:
    """Return what Starlette's application needs so that every error becomes a problem."""
    return {Problem: answer_error, HTTPException: answer_error, LedgerError: answer_error, Exception: answer_error}


async def answer_error(request: Request, error: Exception) -> Response:
    """Return the answer for an error; one that nobody expected is logged under an id which the answer names."""
    site: Site = request.app.state.site
    problem = problem_of(error, request.scope.get("path", ""))
    if problem.status == 405:
        problem.headers["allow"] = ", ".join(_allowed(request))
    return as_answer(problem, site)


def _allowed(request: Request) -> list[str]:
    """Return every method the address takes: several routes may share it, and Starlette tells of the first alone."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


def problem_of(error: Exception, path: str = "") -> Problem:
    """Return the problem an error is to whoever asked. What was not expected is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, BadFilter):
        return Problem("bad-filter", str(error))
    if isinstance(error, BadCursor):
        return Problem("bad-cursor", str(error))
    if _is_the_ledgers(error):
        told = error if isinstance(error, DBAPIError) else None  # which says by itself where it came from
        log_event("database", level="error", error=told, path=without_query(path), problem=str(error))
        return Problem("database", "the ledger cannot be reached just now; try again", headers={"retry-after": "2"})
    name = secrets.token_hex(8)
    log_event("unexpected", level="error", error=error, path=without_query(path), id=name)
    return Problem("internal", f"this is our fault; the log tells more under {name}", id=name)


def _is_the_ledgers(error: Exception) -> bool:
    """Whether the ledger cannot be reached, or is not as it should be; what we asked of it was right."""
    if isinstance(error, DBAPIError):
        return not isinstance(error, (IntegrityError, DataError))
    return isinstance(error, (LedgerError, IntakeFull, IntakeUnavailable, *DRIVERS_OWN))


def _of_http(error: HTTPException) -> Problem:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 404:
        return Problem("not-found", "there is nothing at this address", headers=headers)
    if error.status_code == 405:
        return Problem("method-not-allowed", "this address does not take this method", headers=headers)
    problem = Problem("http", error.detail, headers=headers)
    problem.status = error.status_code
    return problem


def as_answer(problem: Problem, site: Site) -> Response:
    """Return a problem as a response, without the values of known secrets."""
    told = {
        "type": f"/problems/{problem.kind}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    body = orjson.dumps(site.redactor.json(told))
    headers = {**HEADERS, **problem.headers}
    return Response(body, problem.status, headers, "application/problem+json")
