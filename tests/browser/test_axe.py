"""Every page without a violation that axe knows and no wider than its screen, with the page's own policy on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Dashboard, told, violations
from tests.browser.showcase import ENDED
from tests.browser.test_pages_in_chromium import PAGES, api_of

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": 1280, "phone": 390}
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def more_pages(dashboard: Dashboard) -> dict[str, str]:
    """Pages whose addresses are known only once the ledger is filled."""
    api = api_of(dashboard)
    evidence = (await api.get(f"/v1/workflows/civ/{ENDED}/evidence")).json["items"][-1]["id"]
    unread = (await api.get("/v1/deliveries", outcome="quarantined")).json["items"][0]["id"]
    return {"evidence": f"/evidence/{evidence}", "quarantined": f"/evidence/{unread}", "reference": "/reference"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_axe_finds_no_violation_on_any_page_and_none_is_wider_than_the_screen(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any], scheme: str, width: str
) -> None:
    context = await chromium.new_context(
        storage_state=state, color_scheme=scheme, viewport={"width": WIDTHS[width], "height": 844}
    )
    shots = os.environ.get("HOOKLEDGER_SHOTS")  # a folder to leave pictures of every page in
    page = await context.new_page()
    async with context:
        for name, path in {**PAGES, **await more_pages(dashboard)}.items():
            await page.goto(dashboard.url + path)
            if name == "source":
                await page.wait_for_selector(".uplot canvas")
            found = await violations(page)
            assert found == [], f"{name}: {told(found)}"
            assert await page.evaluate(TOO_WIDE) == 0, name
            if shots:
                await page.screenshot(path=Path(shots) / f"{name}-{scheme}-{width}.png", full_page=True)


async def test_axe_would_find_what_is_wrong_although_the_policy_is_on(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any]
) -> None:
    context = await chromium.new_context(storage_state=state)
    page = await context.new_page()
    async with context:
        await page.goto(f"{dashboard.url}/passes")
        await page.evaluate("document.querySelector('main').append(document.createElement('img'))")
        assert [one["id"] for one in await violations(page)] == ["image-alt"]
        refused = "new Promise((ok) => { document.addEventListener('securitypolicyviolation', () => ok(true)); "
        refused += "const one = document.createElement('script'); one.text = '1'; document.head.append(one); })"
        assert await page.evaluate(refused)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_the_login_page_is_as_accessible_and_a_token_typed_in_opens_the_dashboard(
    chromium: Any, dashboard: Dashboard, scheme: str, width: str
) -> None:
    context = await chromium.new_context(color_scheme=scheme, viewport={"width": WIDTHS[width], "height": 844})
    page = await context.new_page()
    await page.goto(f"{dashboard.url}/workflows?state=open")
    for token in ("hl_wrong", dashboard.token):
        found = await violations(page)
        assert found == [], told(found)
        await page.fill("#token", token)
        await page.click("button:visible")  # a phone's keyboard may have no Enter
        await page.wait_for_selector("#problem" if token == "hl_wrong" else "#filters")
    assert page.url.endswith("/workflows?state=open")
    await context.close()
