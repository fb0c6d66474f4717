"""The dashboard in a real browser: live, by keyboard alone, without a violation that axe knows, without strangers."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

from receiver.ledger.database import now as database_now
from receiver.ledger.operations import passes
from tests.browser import hard_cases
from tests.browser.conftest import Dashboard, until, watched
from tests.browser.showcase import DISPUTED, ENDED, OPEN
from tests.web.asking import Api
from tests.web.client import ask, event
from tests.web.conftest import TOKEN

pytestmark = pytest.mark.browser

PAGES = {
    **{name: f"/workflows/{source}/{quote(of, safe='')}" for name, source, of in (
        ("files", "civ", hard_cases.FILES), ("run-2", "runpod", hard_cases.RERUN), ("lanes", "civ", hard_cases.LANES),
        ("early", "civ", hard_cases.EARLY), ("long", "civ", hard_cases.LONG), ("hostile", "civ", hard_cases.HOSTILE),
    )},
    "attention": "/attention",
    "workflows": "/workflows",
    "workflow": f"/workflows/civ/{ENDED}",
    "disputed": f"/workflows/civ/{DISPUTED}",
    "document": f"/workflows/civ/{ENDED}/document",
    "incident": f"/workflows/civ/{ENDED}/incident",
    "sources": "/sources",
    "source": "/sources/civ",
    "deliveries": "/deliveries",
    "passes": "/passes",
    "audit": "/audit",
    "replay": f"/workflows/civ/{DISPUTED}/replay",
    "nothing": "/workflows?q=nothing-is-like-this",
    "problem": "/workflows/civ/nobody",
}  # fmt: skip


async def deliver(dashboard: Dashboard, name: str, status: str) -> None:
    answer = await ask("POST", f"{dashboard.url}/hooks/civ?token={TOKEN}", event(name, status))
    assert answer.status == 200


async def test_a_workflow_that_ends_while_its_page_is_open_is_shown_ended_within_two_seconds(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any]
) -> None:
    context = await chromium.new_context(storage_state=state)
    async with watched(context, dashboard) as seen:
        await seen.page.goto(f"{dashboard.url}/workflows/civ/{OPEN}")
        await seen.page.wait_for_selector("#live-state[data-state=on]")
        await seen.page.evaluate("window.neverReloaded = true")
        await deliver(dashboard, OPEN, "succeeded")
        began = time.monotonic()
        await seen.page.wait_for_selector("#headline .s-succeeded", timeout=2000)
        assert time.monotonic() - began < 2
        assert await seen.page.evaluate("window.neverReloaded")
        assert "succeeded" in await seen.page.inner_text("#spoken")
    await context.close()


async def test_the_list_shows_a_new_workflow_by_itself_and_resumes_after_the_server_was_away(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any]
) -> None:
    context = await chromium.new_context(storage_state=state)
    page = await context.new_page()
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request) if "/v1/stream" in request.url else None)
    await page.goto(f"{dashboard.url}/workflows")
    await page.wait_for_selector("#live-state[data-state=on]")
    await deliver(dashboard, "swx-new-1", "processing")
    await page.wait_for_selector("#row-civ-swx-new-1", timeout=5000)
    await dashboard.stop()
    await page.wait_for_selector("#live-state[data-state=off]", timeout=10_000)
    await dashboard.start()
    await deliver(dashboard, "swx-new-2", "processing")  # while nobody listened
    await page.wait_for_selector("#live-state[data-state=on]", timeout=15_000)
    await page.wait_for_selector("#row-civ-swx-new-2", timeout=5000)
    headers = [await request.all_headers() for request in asked]
    assert any("last-event-id" in one or "after=" in request.url for one, request in zip(headers, asked, strict=True))
    await page.goto(f"{dashboard.url}/passes")
    await page.wait_for_selector("#live-state[data-state=on]")
    async with dashboard.database.write() as connection:
        row = {"id": "999", "kind": "cron", "holder": "host-2", "started_at": await database_now(connection)}
        await connection.execute(passes.insert().values(**row, counts={}))
    await page.wait_for_selector("#p-999", timeout=5000)
    await context.close()


async def test_filters_survive_back_and_reload(chromium: Any, dashboard: Dashboard, state: dict[str, Any]) -> None:
    context = await chromium.new_context(storage_state=state)
    async with watched(context, dashboard) as seen:
        page = seen.page
        await page.goto(f"{dashboard.url}/workflows")
        await page.select_option("#state", "ended")
        await page.wait_for_url("**/workflows?state=ended")
        await page.fill("#q", "team=red")
        await page.wait_for_url("**/workflows?q=team*")
        await until(lambda: _rows_are(page, {"swx-3", "swx-5"}))
        await page.click("text=swx-3")
        await page.wait_for_selector("#workflow")
        await page.go_back()
        await until(lambda: _rows_are(page, {"swx-3", "swx-5"}))
        assert await page.input_value("#q") == "team=red"
        await page.reload()
        assert await page.input_value("#state") == "ended"
        await until(lambda: _rows_are(page, {"swx-3", "swx-5"}))
        await page.go_back()
        await page.wait_for_url("**/workflows?state=ended")
        await until(lambda: _value_is(page, "#q", ""))
    await context.close()


async def _value_is(page: Any, field: str, value: str) -> bool:
    return str(await page.input_value(field)) == value


async def _rows_are(page: Any, names: set[str]) -> bool:
    return set(await page.locator("#results tbody a.id").all_inner_texts()) == names


def api_of(dashboard: Dashboard) -> Api:
    """The API of a dashboard, asked with its token."""

    class Here:
        url = dashboard.url

    here: Any = Here()
    return Api(here, dashboard.token)


async def test_no_page_complains_or_asks_another_host(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any]
) -> None:
    context = await chromium.new_context(storage_state=state)
    async with watched(context, dashboard) as seen:
        for name, path in PAGES.items():
            if name == "problem":  # Chromium itself notes a 404
                continue
            await seen.page.goto(dashboard.url + path)
            await seen.page.wait_for_selector("#live-state[data-state=on], main:not(:has([data-live])) h1")
        await seen.page.click("[data-theme-switch]")
        assert await seen.page.evaluate("document.documentElement.dataset.theme") == "light"
        await seen.page.reload()
        assert await seen.page.evaluate("document.documentElement.dataset.theme") == "light"
    await context.close()
