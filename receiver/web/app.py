"""The receiver's application, put together from lists of routes, and what lives and dies with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

from starlette.applications import Starlette

from receiver.config import Config
from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.logs import log_event
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider
from receiver.redaction import Redactor
from receiver.web import hooks, problems
from receiver.web.rejections import Rejections
from receiver.web.site import Site

# A loop that works in the background until the event is set: the built-in reconciler.
Daemon = Callable[[Config, Database, Redactor, asyncio.Event], Awaitable[None]]

PULSE = 2.0  # seconds between signs of life
STUCK_AFTER = 45.0  # seconds for one commit; the database's own time limits are shorter
SAY_GOODBYE = 15.0  # seconds the reconciler has for ending by itself


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
    site = Site(config, database, intake or Intake(database), redactor)
    rejections = Rejections(database)
    app = Starlette(
        routes=hooks.routes(hooks.Hooks(site, rejections, providers)),
        exception_handlers=problems.exception_handlers(),
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
        background = None
        if daemon is not None:
            work = daemon(site.config, site.database, site.redactor, site.stopping)
            background = asyncio.create_task(_watched(work, site), name="reconciler")
        pulse = asyncio.create_task(_pulse(site, background), name="pulse")
        try:
            yield
        finally:
            site.stopping.set()
            await site.intake.drain()
            await rejections.stop()
            if background is not None:
                await _end(background)
            pulse.cancel()
            await asyncio.wait({pulse})

    return lifespan


async def _watched(work: Awaitable[None], site: Site) -> None:
    """Run the reconciler; nobody else would notice its end."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - whatever it was, deliveries are still taken
        log_event("reconciler died", level="error", error=error)
    else:
        if not site.stopping.is_set():
            log_event("reconciler ended", level="error", problem="it stopped although nobody had asked it to")


async def _pulse(site: Site, background: asyncio.Task[None] | None) -> None:
    """Give a sign of life for each loop that lives. One that is dead or stuck falls silent, and `/healthz` tells."""
    while True:
        now, within = datetime.now(UTC), timedelta(seconds=5 * PULSE)
        if site.intake.silent_for(time.monotonic()) < STUCK_AFTER:
            site.beats.beat("intake", now, within=within)
        if background is not None and not background.done():
            site.beats.beat("reconciler", now, within=within)
        await asyncio.sleep(PULSE)


async def _end(background: asyncio.Task[None]) -> None:
    """Wait until the reconciler has ended, and end it when it does not."""
    await asyncio.wait({background}, timeout=SAY_GOODBYE)
    if not background.done():
        background.cancel()
        await asyncio.wait({background})
