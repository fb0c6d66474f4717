"""Chromium as Debian has it, and a dashboard with everything on show, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from receiver.config import Config
from receiver.ledger import sessions
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.redaction import Redactor
from receiver.web.app import build_app
from receiver.web.server import address_of, bind, running
from tests.browser import hard_cases, media
from tests.browser.showcase import configured, fill
from tests.web.asking import Api, make_token
from tests.web.conftest import Running

ARGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# axe-core, as `.ci/tools` installs it with npm.
AXE = Path(__file__).parents[2] / ".ci" / "node_modules" / "axe-core" / "axe.min.js"


@dataclass
class Dashboard:
    """A receiver whose server may be stopped and started again at the same address."""

    config: Config
    database: Database
    port: int = 0
    token: str = ""
    url: str = ""
    _stop: Any = None

    async def start(self) -> Running:
        app = build_app(self.config, self.database, Redactor(self.config.secret_values()))
        sock = bind("127.0.0.1", self.port)
        self.port, self.url = sock.getsockname()[1], address_of(sock)
        self._stop = running(app, sock)
        server = await self._stop.__aenter__()
        return Running(self.url, app.state.site, server)

    async def stop(self) -> None:
        await self._stop.__aexit__(None, None, None)

    async def login_link(self) -> str:
        async with self.database.write() as connection:
            code = await sessions.make_code(connection, "tests-admin", await database_now(connection))
        return f"{self.url}/login?code={code}"


@dataclass
class Watched:
    """A browser's page, and what it should never do: write to the console, or ask another host."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


@pytest.fixture
async def dashboard(sqlite_url: str) -> AsyncIterator[Dashboard]:
    """A dashboard with everything on show; `token` may do everything."""
    config = configured(sqlite_url)
    database = await Database.open(sqlite_url)
    made = Dashboard(config, database)
    serving = await made.start()
    made.token = await make_token(database, "admin")
    async with media.serving() as files:
        await fill(serving, database, config, made.token, files)
        await hard_cases.fill(Api(serving, made.token), database, config, files)
        yield made
        await made.stop()
    await database.close()


@pytest.fixture
async def empty(sqlite_url: str) -> AsyncIterator[Dashboard]:
    """A dashboard of a ledger in which nothing has happened yet."""
    config = configured(sqlite_url)
    database = await Database.open(sqlite_url)
    made = Dashboard(config, database)
    await made.start()
    made.token = await make_token(database, "admin")
    yield made
    await made.stop()
    await database.close()


@pytest.fixture
async def chromium() -> AsyncIterator[Any]:
    """Debian's Chromium."""
    from playwright.async_api import async_playwright

    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: .ci/tools installs it"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(ARGS))
        yield browser
        await browser.close()


@asynccontextmanager
async def watched(context: Any, dashboard: Dashboard) -> AsyncIterator[Watched]:
    """A new page; at the end it must have had no complaint and asked no stranger."""
    seen = Watched(await context.new_page())
    seen.page.on("console", lambda said: seen.complaints.append(f"{said.type}: {said.text}"))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))

    def asked(request: Any) -> None:
        # Where `/blobs` sends the browser is upstream's, and the one place outside.
        if not request.url.startswith((dashboard.url, "data:")) and request.redirected_from is None:
            seen.strangers.append(request.url)

    seen.page.on("request", asked)
    yield seen
    assert seen.strangers == []
    assert seen.complaints == []
    await seen.page.close()


@pytest.fixture
async def state(chromium: Any, dashboard: Dashboard) -> dict[str, Any]:
    """The cookies of a browser that has logged in by a link."""
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(await dashboard.login_link())
    await page.wait_for_url(lambda url: "/login" not in url)
    kept: dict[str, Any] = await context.storage_state()
    await context.close()
    return kept


async def violations(page: Any) -> list[dict[str, Any]]:
    """What axe finds wrong with a page. It runs in a world of its own beside the page's: the page's policy stays on."""
    session = await page.context.new_cdp_session(page)
    try:
        frame = (await session.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        world = await session.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "axe"})
        here = {"contextId": world["executionContextId"]}
        await session.send("Runtime.evaluate", {"expression": AXE.read_text(), **here})
        run = "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"
        told = await session.send(
            "Runtime.evaluate", {"expression": run, "awaitPromise": True, "returnByValue": True, **here}
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        found: list[dict[str, Any]] = told["result"]["value"]
        return found
    finally:
        await session.detach()


async def until(met: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not await met():  # noqa: ASYNC110 - what is waited for is in another program
            await asyncio.sleep(0.05)


def told(violations: list[dict[str, Any]]) -> str:
    """What axe found, to read."""
    return json.dumps(
        [[one["id"], one["help"], [node["html"][:160] for node in one["nodes"][:3]]] for one in violations], indent=1
    )
