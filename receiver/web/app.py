"""The receiver's application, put together from lists of routes, and what lives and dies with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from receiver.config import Config
from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.logs import log_event
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider
from receiver.redaction import Redactor
from receiver.shelves import shelf_of
from receiver.web import api, blobs, health, hooks, problems
from receiver.web.door import Door
from receiver.web.janitor import sweep_forever
from receiver.web.openapi import serving as openapi
from receiver.web.pages import routes as pages
from receiver.web.rejections import Rejections
from receiver.web.site import Site
from receiver.web.transport_security import StrictTransport
from receiver.web.watch import Watch

RECONCILER = "reconciler"  # its name among the loops whose signs of life are heard
LEAVE_WITHIN = 8.0  # seconds for commits under way and for the reconciler's looks; a database may well say nothing


class Daemon(Protocol):
    """What works in the background until `stop` is set, calling `beat` at every turn: the built-in reconciler."""

    def __call__(
        self, config: Config, database: Database, redactor: Redactor, stop: asyncio.Event, *, beat: Callable[[], None]
    ) -> Coroutine[Any, Any, None]:
        """Return the work, to be awaited."""


def build_app(
    config: Config,
    database: Database,
    redactor: Redactor,
    intake: Intake | None = None,
    *,
    daemon: Daemon | None = None,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> Starlette:
    """Return the application. Nothing runs before its lifespan begins; the database stays the caller's to close.

    `daemon` runs beside it, from start to end. `app.state.site` is what every request may use.
    """
    site = Site(
        config,
        database,
        intake or Intake(database),
        redactor,
        Door(config.server),
        Watch(database),
        shelf_of(config.collect),
    )
    rejections = Rejections(database)
    app = Starlette(
        routes=[
            *hooks.routes(hooks.Hooks(site, rejections, providers)),
            *api.routes(),
            *blobs.routes(),
            *health.routes(),
            *openapi.routes(),
            *pages.routes(),
        ],
        middleware=[Middleware(StrictTransport)] if (config.server.public_url or "").startswith("https:") else [],
        exception_handlers={**problems.exception_handlers(), HTTPException: pages.for_people()},
        lifespan=_lifespan(site, rejections, daemon),
    )
    app.router.redirect_slashes = False
    app.state.site = site
    return app


def _lifespan(
    site: Site, rejections: Rejections, daemon: Daemon | None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.intake.start()
        rejections.start()
        janitor = asyncio.create_task(sweep_forever(site.database, site.intake.lessons), name="janitor")
        background = None
        if daemon is not None:
            background = asyncio.create_task(_watched(daemon, site), name="reconciler")
        try:
            yield
        finally:
            site.stopping.set()
            janitor.cancel()
            ending = {
                janitor,
                asyncio.create_task(site.intake.drain(), name="intake"),
                asyncio.create_task(rejections.stop(), name="rejections"),
            }
            await _leave(site, ending if background is None else ending | {background})

    return lifespan


async def _watched(daemon: Daemon, site: Site) -> None:
    """Run the reconciler; nobody else would notice its end. Once it has died, `/healthz` tells."""

    def beat() -> None:
        site.beats.beat(RECONCILER, datetime.now(UTC))

    beat()
    try:
        await daemon(site.config, site.database, site.redactor, site.stopping, beat=beat)
    except Exception as error:  # noqa: BLE001 - whatever it was, deliveries are still taken
        log_event("reconciler died", level="error", error=error)
    else:
        if site.stopping.is_set():
            site.beats.ended(RECONCILER)
            return
        log_event("reconciler ended", level="error", problem="it stopped although nobody had asked it to")
    site.beats.beat(RECONCILER, datetime.now(UTC), within=timedelta(0))  # silent from now on


async def _leave(site: Site, ending: set[asyncio.Task[None]]) -> None:
    """Wait until all have ended, and end those that do not: whoever waits for a commit has long been answered."""
    _, late = await asyncio.wait(ending, timeout=LEAVE_WITHIN)
    if late:
        names = ", ".join(sorted(one.get_name() for one in late))
        log_event("left early", level="warning", problem=f"not done after {LEAVE_WITHIN:.0f} s: {names}")
        site.database.distrust()
        for one in late:
            one.cancel()
        await asyncio.wait(late)
    await site.intake.stop()
