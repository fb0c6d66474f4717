"""Who may ask: a bearer token with a scope, looked up for every request, so that a revoked one is worthless at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from receiver.ledger import tokens
from receiver.ledger.tokens import Token
from receiver.web.answers import clock, site_of
from receiver.web.problems import Problem, as_answer, problem_of
from receiver.web.visitors import note_use, visitor_of

Endpoint = Callable[[Request], Awaitable[Response]]

_CHALLENGE = {"www-authenticate": 'Bearer realm="hookledger"'}


def needs(scope: str, *, or_login: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint be called only with a token of this scope (`read`, `write`, `admin`) or a larger one.

    `or_login` lets in who is logged in to the dashboard, too: for what its pages show, which changes nothing.

    The token's record is then `request.state.token`. Errors of the endpoint become problems here: unexpected ones too,
    which Starlette would otherwise hand on to the server after answering.
    """

    def guard(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            try:
                visitor = await visitor_of(request) if or_login and _bearer(request) is None else None
                if visitor is not None and visitor.may(scope):
                    request.state.visitor, request.state.token = visitor, visitor.session.token
                else:
                    request.state.token = await require(request, scope)
                return await endpoint(request)
            except Exception as error:  # noqa: BLE001 - the one place that turns errors into answers
                return as_answer(problem_of(error, request.url.path), site_of(request))

        return guarded

    return guard


async def require(request: Request, scope: str) -> Token:
    """Return the token a request carries. Raises Problem: none or a wrong one 401, too small a scope 403."""
    site = site_of(request)
    given = _bearer(request)
    async with site.database.read() as connection:
        token = await tokens.identify(connection, given) if given else None
        if token is None and not await tokens.any_valid(connection):
            detail = "there is no API token yet; make one with: hookledger token create NAME --scope read"
            raise Problem("no-token", detail, headers=_CHALLENGE)
    if token is None:
        raise _refused(given)
    if not token.allows(scope):
        challenge = f'{_CHALLENGE["www-authenticate"]}, error="insufficient_scope", scope="{scope}"'
        raise Problem(
            "scope",
            f"this needs a token with the scope {scope}; {token.name} has {token.scope}",
            headers={"www-authenticate": challenge},
        )
    await note_use(site, token, clock())
    return token


def _refused(given: str | None) -> Problem:
    if given is None:
        detail = "send a token as `Authorization: Bearer hl_…`; `hookledger token create` makes one"
        return Problem("no-token", detail, headers=_CHALLENGE)
    challenge = f'{_CHALLENGE["www-authenticate"]}, error="invalid_token"'
    return Problem("wrong-token", "this token is unknown or was revoked", headers={"www-authenticate": challenge})


def _bearer(request: Request) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None
