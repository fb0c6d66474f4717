"""`/blobs/{source}/{id}`: the file's copy, or a redirect to where it can be had right now (R17)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.config.files import files_lie_at
from receiver.ledger import checks, queries
from receiver.ledger.database import now as database_now
from receiver.ledger.looks import MISSES
from receiver.ledger.query_parts import Row, lasting
from receiver.web import copies
from receiver.web.answers import clock, site_of
from receiver.web.auth import needs
from receiver.web.pages.guarding import told_as_asked
from receiver.web.parameters import named_blob, unknown_blob
from receiver.web.problems import Problem
from receiver.web.sharing import link_or
from receiver.web.site import Site
from receiver.web.waiting import NO_RECONCILER, POLL, pulse_of

_HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
# After a look has finished, this long for the renewal of the one URL that may follow it.
_GRACE = 1.0


def routes() -> list[Route]:
    """Return the route of `/blobs`."""
    return [Route("/blobs/{source}/{id}", told_as_asked(redirect), methods=["GET", "HEAD"])]


@link_or(needs("read", or_login=True))
async def redirect(request: Request) -> Response:
    """The file itself when it has been copied (`collect`). Else 302 to a URL that works now, made fresh first when it
    has expired or is about to; 410 when the file is gone.

    However many ask at once, upstream is asked once: there is one check per workflow.
    """
    site, (source, blob_id) = site_of(request), named_blob(request)
    copy = await copies.served(site, request, source, blob_id)
    if copy is not None:
        return copy
    row = await _find(site, source, blob_id)
    if not lasting(row, clock()):
        row = await _renewed(site, source, row)
    url = str(row["url"])
    if not _may_serve(site, source, url):
        raise Problem("blob-unavailable", "upstream gave an address for this file that this source may not send you to")
    return Response(status_code=302, headers={**_HEADERS, "location": url})


async def _find(site: Site, source: str, blob_id: str) -> Row:
    if source not in site.config.sources:
        raise unknown_blob(source, blob_id)
    async with site.database.read() as connection:
        return await _known(connection, source, blob_id)


async def _known(connection: AsyncConnection, source: str, blob_id: str) -> Row:
    row = await queries.blob(connection, source, blob_id, clock())
    if row is None:
        raise unknown_blob(source, blob_id)
    if row["gone_at"] is not None:
        raise Problem("blob-gone", "upstream no longer has this file")
    return row


async def _renewed(site: Site, source: str, row: Row) -> Row:
    """Have upstream asked, and return the blob once its URL works. Raises Problem when it does not come to that."""
    loop = asyncio.get_running_loop()
    began, blob_id, workflow_id = loop.time(), row["id"], row["workflow_id"]
    async with site.database.write() as connection:
        # Somebody else's look may have ended meanwhile, or be under way.
        row, now = await _known(connection, source, blob_id), await database_now(connection)
        if lasting(row, clock()):
            return row
        wished = await checks.want(connection, source, workflow_id, row["workflow"], now, join=True)
    answered_at: float | None = None
    while loop.time() - began < NO_RECONCILER and not site.stopping.is_set():
        await asyncio.sleep(POLL)
        row = await _find(site, source, blob_id)
        if lasting(row, clock()):
            return row
        if (await pulse_of(site, source, workflow_id)).answered(wished):
            answered_at = answered_at or loop.time()
            if loop.time() - answered_at >= _GRACE:
                break
    raise await _why_not(site, source, workflow_id, wished)


async def _why_not(site: Site, source: str, workflow_id: str, wished: datetime) -> Problem:
    pulse = await pulse_of(site, source, workflow_id)
    if pulse.vanished or pulse.misses >= MISSES:
        return Problem("blob-gone", "upstream no longer knows the workflow this file belongs to")
    if pulse.shown(wished):
        return Problem(
            "blob-unavailable", "upstream was asked and shows no address for this file: not ready, or blocked"
        )
    if pulse.misses and pulse.answered(wished):
        return Problem("blob-unavailable", "upstream was asked and did not know the workflow this file belongs to")
    if pulse.tried(wished):
        return Problem("upstream-busy", "upstream was asked and has not answered", headers={"retry-after": "5"})
    detail = "no reconciler has asked upstream within 10 s; run `hookledger serve`, or `hookledger reconcile --watch`"
    return Problem("no-reconciler", detail, headers={"retry-after": "10"})


def _may_serve(site: Site, source: str, url: str) -> bool:
    """Whether people may be sent to a URL that upstream gave."""
    # A redirect is ASCII, and what looks like two lines would be two headers.
    if not url.isascii() or not url.isprintable() or "\\" in url or " " in url or site.redactor.text(url) != url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.password is not None:
        return False
    return files_lie_at(site.config.sources[source], parts)
