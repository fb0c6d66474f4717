"""Logging in with a token or with the one-time code of a link, and logging out (DESIGN §8.2)."""

from __future__ import annotations

import time
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from receiver.ledger import audit, sessions, tokens
from receiver.ledger.database import now as database_now
from receiver.logs import log_event
from receiver.web.answers import site_of
from receiver.web.pages.forms import form_of, place
from receiver.web.pages.guarding import button, onward, problem_page
from receiver.web.pages.rendering import render
from receiver.web.pages.tries import Tries
from receiver.web.problems import Problem, problem_of
from receiver.web.visitors import admit, came_from_here, dismiss, visitor_of

_LONGEST = 200  # characters of a token or a code worth looking at


def routes(tries: Tries) -> list[Route]:
    """Return the routes of logging in; `tries` is this process's count."""

    async def log_in(request: Request) -> Response:
        """Take a token, or the code of a link, and give the browser its cookie."""
        try:
            return await _log_in(request, tries)
        except Exception as error:  # noqa: BLE001 - nobody is logged in here whose errors another place could show
            return problem_page(request, problem_of(error, request.url.path))

    return [
        Route("/login", login, methods=["GET"]),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]


async def login(request: Request) -> Response:
    """The login. A link's code is not used up by opening it: chats open links to look what they are."""
    try:
        target = place(request.query_params.get("next"))
        code = request.query_params.get("code", "")[:_LONGEST]
        if not code and await visitor_of(request) is not None:
            return RedirectResponse(target, 303, {"cache-control": "no-store"})
        return await _page(request, target, code=code)
    except Exception as error:  # noqa: BLE001 - nobody is logged in here whose errors another place could show
        return problem_page(request, problem_of(error, request.url.path))


async def _page(request: Request, target: str, *, code: str = "", problem: str | None = None) -> Response:
    async with site_of(request).database.read() as connection:
        made = await tokens.any_valid(connection)
    told = {"next": target, "code": code, "problem": problem, "any_token": made}
    return render(request, "login.html", told, status=401 if problem else 200)


async def _log_in(request: Request, tries: Tries) -> Response:
    if not came_from_here(request):
        raise Problem("cross-site", "only the login page may send this")
    address = request.client.host if request.client else ""
    wait = tries.wait(address, time.monotonic())
    if wait > 0:
        seconds = int(wait) + 1
        detail = f"too many logins failed from this address: try again in {seconds} s"
        raise Problem("too-many-tries", detail, headers={"retry-after": str(seconds)})
    form = await form_of(request)
    target = place(form.get("next"))
    async with site_of(request).database.write() as connection:
        now = await database_now(connection)
        name = await _known(connection, form.get("code", ""), form.get("token", ""), now)
        secret = await sessions.begin(connection, name, now) if name is not None else None
        if name is not None:
            by = "link" if form.get("code") else "token"
            await audit.note(connection, name, "log in", now, details={"by": by, "from": address})
    if secret is None:
        tries.failed(address, time.monotonic())
        log_event("login refused", level="warning", address=address, by="code" if form.get("code") else "token")
        return await _page(request, target, problem=_why_not(form.get("code", "")))
    log_event("login", name=name, address=address, by="code" if form.get("code") else "token")
    response = RedirectResponse(target, 303, {"cache-control": "no-store"})
    admit(request, response, secret)
    return response


async def _known(connection: AsyncConnection, code: str, token: str, now: datetime) -> str | None:
    """Return the name of the token that somebody proves to have."""
    if code:
        return await sessions.use_code(connection, code, now) if len(code) <= _LONGEST else None
    found = await tokens.identify(connection, token.strip()[:_LONGEST])
    return None if found is None else found.name


def _why_not(code: str) -> str:
    if code:
        return "This link was used already or is older than a minute: ask for a new one, or log in with a token."
    return "This token is unknown or was revoked."


@button("read")
async def log_out(request: Request) -> Response:
    """Forget the session, here and in the browser."""
    async with site_of(request).database.write() as connection:
        await sessions.end(connection, request.state.visitor.session.secret)
        await audit.note(connection, request.state.visitor.name, "log out", await database_now(connection))
    response = onward(request, "/login")
    dismiss(request, response)
    return response
