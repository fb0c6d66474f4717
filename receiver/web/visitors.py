"""Who looks at the dashboard: a browser with a cookie that stands for a token (DESIGN §8.2).

The cookie is `SameSite=Lax`, not `Strict`: the link to a workflow in a chat or an issue must open it. What Lax lets
through, writes keep out by themselves: see `came_from_here` and `Visitor.vouches_for`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import urlsplit

from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response

from receiver.ledger import sessions, tokens
from receiver.ledger.database import LedgerError
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.sessions import LONGEST, Session
from receiver.ledger.tokens import Token
from receiver.logs import log_event
from receiver.web.answers import clock, site_of
from receiver.web.site import Site

_COOKIE, _SECURE_COOKIE = "hookledger", "__Host-hookledger"
_LONGEST_COOKIE = 64  # characters; ours are 43


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in: by the name of the token, with its scope."""

    session: Session

    @property
    def name(self) -> str:
        """The name of the token: who did what is told by it."""
        return self.session.token.name

    @property
    def scope(self) -> str:
        """The scope of the token."""
        return self.session.token.scope

    def may(self, scope: str) -> bool:
        """Whether this visitor may do what needs `scope`."""
        return self.session.token.allows(scope)

    @property
    def pledge(self) -> str:
        """What every form of this visitor's pages carries: nobody else's page can know it."""
        return sha256(b"hookledger form\0" + self.session.secret.encode()).hexdigest()

    def vouches_for(self, given: str) -> bool:
        """Whether a form carries this visitor's pledge."""
        return compare_digest(given.encode("utf-8", "replace"), self.pledge.encode())


async def visitor_of(request: Request) -> Visitor | None:
    """Return who sends a request, None when nobody is logged in. Its use is written down now and then."""
    secret = request.cookies.get(_name(request))
    if secret is None or not 0 < len(secret) <= _LONGEST_COOKIE:
        return None
    site, now = site_of(request), clock()
    async with site.database.read() as connection:
        session = await sessions.find(connection, secret, now)
    if session is None:
        return None
    await note_use(site, session.token, now, session)
    return Visitor(session)


async def note_use(site: Site, token: Token, now: datetime, session: Session | None = None) -> None:
    """Write down, now and then, that a token was used, and let a session that is in use last.

    A ledger that cannot be written is no reason not to answer who only asks.
    """
    until = session.lengthened(now) if session is not None else None
    if until is None and not tokens.use_is_news(token, now):
        return
    try:
        async with site.database.write() as connection:
            if session is not None and until is not None:
                await sessions.lengthen(connection, session, until)
            await tokens.used(connection, token.name, now)
    except (LedgerError, DBAPIError, *DRIVER_ERRORS) as error:
        log_event("token", level="warning", name=token.name, problem=f"its use was not written down: {error}")


def came_from_here(request: Request) -> bool:
    """Whether a request that changes something comes from a page of ours.

    Browsers say so in `Sec-Fetch-Site`, over http and other hosts' names only in `Origin`. Without either it does not.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc.lower() in _our_names(request)


def _our_names(request: Request) -> set[str]:
    names = {request.headers.get("host", "").lower(), urlsplit(site_of(request).config.server.public_url or "").netloc}
    return names - {""}


def is_https(request: Request) -> bool:
    """Whether the browser speaks https, to us or to the proxy before us under our public name."""
    if request.url.scheme == "https":
        return True
    public = urlsplit(site_of(request).config.server.public_url or "")
    return public.scheme == "https" and request.headers.get("host", "").lower() == public.netloc.lower()


def admit(request: Request, response: Response, secret: str) -> None:
    """Give the browser the cookie of its session."""
    response.set_cookie(
        _name(request), secret, max_age=int(LONGEST.total_seconds()), path="/", secure=is_https(request),
        httponly=True, samesite="lax",
    )  # fmt: skip


def dismiss(request: Request, response: Response) -> None:
    """Take the cookie away."""
    response.delete_cookie(_name(request), path="/", secure=is_https(request), httponly=True, samesite="lax")


def _name(request: Request) -> str:
    # A browser takes a `__Host-` cookie from nobody but this very host, over https: no neighbour can plant one.
    return _SECURE_COOKIE if is_https(request) else _COOKIE
