"""The real application on a real socket against a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette

from receiver.config import Config, load_config
from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider
from receiver.redaction import Redactor
from receiver.web.app import build_app
from receiver.web.server import Server, address_of, bind, running
from receiver.web.site import Site

TOKEN = "hook-token-of-the-tests-1"
OLD_TOKEN = "hook-token-of-the-tests-0"


@dataclass(frozen=True)
class Running:
    """A receiver that answers at `url`. `hook(source)` is the address to register for it, token included."""

    url: str
    site: Site
    server: Server

    @property
    def app(self) -> Starlette:
        return self.server.app

    def hook(self, source: str = "civ", *, token: str | None = TOKEN, ref: str | None = None) -> str:
        query = [f"token={token}"] if token is not None and source != "hinted" else []
        query += [f"ref={ref}"] if ref is not None else []
        return f"{self.url}/hooks/{source}" + ("?" + "&".join(query) if query else "")


Receiving = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def config(database_url: str) -> Config:
    """`civ` (token, two of them), `hinted` (trust hint) and `silent` (trust none), all Civitai."""
    table: dict[str, Any] = {
        "HOOKLEDGER_DATABASE__URL": database_url,
        "HOOKLEDGER_SOURCES__CIV__PROVIDER": "civitai",
        "HOOKLEDGER_SOURCES__CIV__API_KEY": "api-key-of-the-tests",
        "HOOKLEDGER_SOURCES__CIV__HOOK_TOKEN": f"{TOKEN},{OLD_TOKEN}",
        "HOOKLEDGER_SOURCES__HINTED__PROVIDER": "civitai",
        "HOOKLEDGER_SOURCES__HINTED__TRUST": "hint",
        "HOOKLEDGER_SOURCES__HINTED__HINT_QUOTA": "3",
        "HOOKLEDGER_SOURCES__SILENT__PROVIDER": "civitai",
        "HOOKLEDGER_SOURCES__SILENT__TRUST": "none",
        "HOOKLEDGER_SERVER__MAX_BODY": "1 MiB",
    }
    return load_config(env=table)


@pytest.fixture
def receiving(database: Database, config: Config) -> Receiving:
    """Start a receiver as configured: `async with receiving() as running`. Settings of
    `server` may be given by name, times in seconds.

    `intake` replaces the one that is made, `providers` the upstreams by name, `daemon` is the built-in reconciler.
    """

    @asynccontextmanager
    async def start(
        *,
        intake: Intake | None = None,
        providers: dict[str, Provider] = PROVIDERS,
        on: Database | None = None,
        daemon: Any = None,
        **settings: Any,
    ) -> AsyncIterator[Running]:
        times = {name for name, value in config.server if isinstance(value, timedelta)}
        given = {k: timedelta(seconds=v) if k in times else v for k, v in settings.items()}
        chosen = config.model_copy(update={"server": config.server.model_copy(update=given)})
        app = build_app(
            chosen, on or database, Redactor(chosen.secret_values()), intake, daemon=daemon, providers=providers
        )
        sock = bind("127.0.0.1", 0)
        url = address_of(sock)
        async with running(app, sock) as server:
            yield Running(url, app.state.site, server)

    return start


@pytest.fixture
async def receiver(receiving: Receiving) -> AsyncIterator[Running]:
    """A receiver as configured, without a reconciler."""
    async with receiving() as running_one:
        yield running_one
