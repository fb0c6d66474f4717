"""Every page by keyboard alone: all that can be pressed is reached, is seen to have the focus, and pressed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Dashboard, watched
from tests.browser.showcase import OPEN
from tests.browser.test_axe import more_pages
from tests.browser.test_pages_in_chromium import PAGES, api_of

pytestmark = pytest.mark.browser

ALIKE = ("run-2", "lanes", "early", "long", "hostile")  # pages that another one has all controls of
CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary, audio, video, [tabindex='0']"
# Of a group of radio buttons the keyboard stops at one; players have stops of their own within.
WANTED = f"""[...document.querySelectorAll("{CONTROLS}")].filter((one) => one.checkVisibility() && !one.disabled
    && !one.closest("details:not([open]) > :not(summary)") && !(one.type === "radio" && !one.checked))"""
# Whatever looks as if it could be pressed must be something that keys press, too.
ONLY_BY_MOUSE = """[...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
    && getComputedStyle(one).cursor === "pointer"
    && !one.closest("a[href], button, input, select, summary, label, .u-legend")).map((one) => one.outerHTML)"""
LISTEN = """
window.reached = new Set(); window.unseen = [];
document.addEventListener("focusin", (event) => {
  const one = event.target;
  const drawn = (node) => { const style = getComputedStyle(node);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none"; };
  const box = one.getBoundingClientRect();
  const seen = box.width > 0 && box.bottom > 0 && box.top < innerHeight;
  const beside = one.nextElementSibling;
  if (!seen || !(drawn(one) || (beside && drawn(beside)))) window.unseen.push(one.outerHTML.slice(0, 160));
  window.reached.add(one);
});"""


async def test_every_control_of_every_page_is_reached_and_seen_to_have_the_focus(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any]
) -> None:
    context = await chromium.new_context(storage_state=state)
    async with context:
        page = await context.new_page()
        await page.add_init_script(LISTEN)
        for name, path in {**PAGES, **await more_pages(dashboard)}.items():
            if name in ALIKE:
                continue
            await page.goto(dashboard.url + path)
            wanted = await page.evaluate(f"(window.wanted = {WANTED}).length")
            for turn in range(wanted * 2 + 60):
                await page.keyboard.press("Tab")
                if turn % 20 == 19 and await page.evaluate("window.wanted.every((one) => window.reached.has(one))"):
                    break
            missed = await page.evaluate(
                "window.wanted.filter((one) => one.isConnected && !window.reached.has(one))"
                ".map((one) => one.outerHTML.slice(0, 160))"
            )
            assert missed == [], name
            assert await page.evaluate("window.unseen") == [], name
            assert await page.evaluate(ONLY_BY_MOUSE) == [], name


async def test_keys_press_what_they_reach(chromium: Any, dashboard: Dashboard, state: dict[str, Any]) -> None:
    context = await chromium.new_context(storage_state=state)
    async with watched(context, dashboard) as seen:
        page = seen.page
        await page.goto(f"{dashboard.url}/workflows/civ/{OPEN}")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("Enter")
        await page.focus("text=Ask upstream now")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=Upstream is being asked")
        await page.focus("details.menu summary")
        await page.keyboard.press("Space")
        await page.wait_for_selector("details.menu[open]")
        await page.keyboard.press("Escape")
        assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"
        await page.focus("[data-theme-switch]")
        await page.keyboard.press("Space")
        assert await page.evaluate("document.documentElement.dataset.theme") == "light"
        await page.focus("details.menu summary")
        await page.keyboard.press("Enter")
        await page.focus("text=Log out")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#token")
        await page.keyboard.type(dashboard.token)
        await page.keyboard.press("Enter")
        await page.wait_for_url(lambda url: "/login" not in url)
    answer = await api_of(dashboard).workflow(OPEN)
    assert answer["check"]["wanted_at"] is not None
    await context.close()
