"""Who may see a page or press its buttons, and how errors look to people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receiver.ledger.database import LedgerError
from receiver.logs import log_event
from receiver.web.pages.forms import form_of
from receiver.web.pages.rendering import render
from receiver.web.problems import Problem, problem_of
from receiver.web.visitors import Visitor, came_from_here, visitor_of

Endpoint = Callable[[Request], Awaitable[Response]]


def page(scope: str = "read") -> Callable[[Endpoint], Endpoint]:
    """Let a page be seen by whoever is logged in with this scope; anybody else is sent to the login.

    The endpoint finds who it is in `request.state.visitor`. Its errors become pages here.
    """

    def guard(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            try:
                request.state.visitor = visitor = await visitor_of(request)
                if visitor is None:
                    return to_login(request)
                _check_scope(visitor, scope)
                return await endpoint(request)
            except Exception as error:  # noqa: BLE001 - the one place that turns a page's errors into pages
                return problem_page(request, problem_of(error, request.url.path))

        return guarded

    return guard


def button(scope: str = "write") -> Callable[[Endpoint], Endpoint]:
    """Let a form be sent by whoever is logged in with this scope, from a page of ours.

    The endpoint finds the form's fields in `request.state.form`. What was done is logged with who did it.
    """

    def guard(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            try:
                request.state.visitor = visitor = await visitor_of(request)
                if visitor is None:
                    return to_login(request)
                request.state.form = await _own_form(request, visitor)
                _check_scope(visitor, scope)
                response = await endpoint(request)
            except Exception as error:  # noqa: BLE001 - as above
                return problem_page(request, problem_of(error, request.url.path))
            log_event("person", name=visitor.name, did=endpoint.__name__, path=request.url.path)
            return response

        return guarded

    return guard


async def _own_form(request: Request, visitor: Visitor) -> Mapping[str, str]:
    """Return the fields of a form that a page of this visitor's sent. Raises Problem."""
    if not came_from_here(request):
        raise Problem("cross-site", "only a page of this dashboard may send this")
    form = await form_of(request)
    if not visitor.vouches_for(form.get("pledge", "")):
        raise Problem("cross-site", "the page this came from is too old: go back, reload it and try again")
    return form


def _check_scope(visitor: Visitor, needed: str) -> None:
    if not visitor.may(needed):
        raise Problem("scope", f"this needs a token with the scope {needed}; {visitor.name} has {visitor.scope}")


def told_as_asked(endpoint: Endpoint) -> Endpoint:
    """Let a person who follows a link to a file see an error as a page, and find the login; programs get problems."""

    @wraps(endpoint)
    async def told(request: Request) -> Response:
        response = await endpoint(request)
        if response.status_code < 400 or "text/html" not in request.headers.get("accept", ""):
            return response
        try:
            request.state.visitor = visitor = await visitor_of(request)
        except LedgerError:
            return response
        if response.status_code == 401:
            return to_login(request)
        problem = orjson.loads(response.body)
        told = {**{name: problem[name] for name in ("title", "detail", "status")}, "shared": visitor is None}
        page = render(request, "problem.html", told, status=response.status_code)
        if "retry-after" in response.headers:
            page.headers["retry-after"] = response.headers["retry-after"]
        return page

    return told


def to_login(request: Request) -> Response:
    """Send a browser to the login, and from there back to where it was going."""
    if "hx-request" in request.headers:
        # A part of a page must not become the login: the whole page is loaded anew, and that one is sent there.
        return Response(status_code=401, headers={"hx-refresh": "true", "cache-control": "no-store"})
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    onward = f"?next={quote(asked, safe='')}" if request.method == "GET" and asked != "/" else ""
    return RedirectResponse(f"/login{onward}", 303, {"cache-control": "no-store"})


def onward(request: Request, path: str) -> Response:
    """Send a browser on after a form, so that reloading does not send it again."""
    return RedirectResponse(path, 303, {"cache-control": "no-store"})


def problem_page(request: Request, problem: Problem) -> Response:
    """Return a problem as people read it."""
    told = {"title": problem.title, "detail": problem.detail, "status": problem.status, "shared": False}
    response = render(request, "problem.html", told, status=problem.status)
    for name in ("retry-after", "allow"):
        if name in problem.headers:
            response.headers[name] = problem.headers[name]
    return response
