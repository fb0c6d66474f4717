"""What people see when something is wrong, or when there is nothing yet: as good to read as the rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from receiver.ledger import sessions
from receiver.ledger.database import now as database_now
from tests.browser.conftest import Dashboard, told, until, violations
from tests.browser.hard_cases import FILES, LOST
from tests.browser.test_axe import TOO_WIDE, WIDTHS
from tests.web.asking import make_token

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("HOOKLEDGER_SHOTS")  # a folder to leave pictures in, of all four forms
SEEN_AS = [(scheme, width) for scheme in ("light", "dark") for width in WIDTHS] if SHOTS else [("dark", "phone")]


async def looked_at(page: Any, name: str) -> None:
    found = await violations(page)
    assert found == [], f"{name}: {told(found)}"
    assert await page.evaluate(TOO_WIDE) == 0, name
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


async def spoil(dashboard: Dashboard, *statements: str) -> None:
    async with dashboard.database.write() as connection:
        for one in statements:
            await connection.exec_driver_sql(one)


@pytest.mark.parametrize(("scheme", "width"), SEEN_AS)
async def test_errors_are_pages_to_read_and_say_what_to_do(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any], scheme: str, width: str
) -> None:
    look: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": WIDTHS[width], "height": 844}}
    await spoil(dashboard, "UPDATE passes SET counts = 'spoilt'")
    for status, path in ((404, "/no-such-page"), (500, "/passes"), (400, "/deliveries?cursor=x")):
        context = await chromium.new_context(storage_state=state, **look)
        async with context:
            page = await context.new_page()
            answer = await page.goto(dashboard.url + path)
            assert answer.status == status
            assert await page.locator("h1, h2").count() > 0
            assert "spoilt" not in await page.content()
            await looked_at(page, f"{status}-{scheme}-{width}")
    await make_token(dashboard.database, "read", "reader")
    async with dashboard.database.write() as connection:
        code = await sessions.make_code(connection, "reader", await database_now(connection))
    context = await chromium.new_context(**look)
    async with context:
        page = await context.new_page()
        await page.goto(f"{dashboard.url}/login?code={code}")
        await page.wait_for_url(lambda url: "/login" not in url)
        await page.goto(f"{dashboard.url}/workflows/civ/{FILES}")
        assert await page.locator("text=Ask upstream now").count() == 0
        answer = await page.goto(f"{dashboard.url}/blobs/civ/nothing?share=a.b.c")
        assert answer.status in (403, 404)
        await looked_at(page, f"bad-link-{scheme}-{width}")


@pytest.mark.parametrize(("scheme", "width"), SEEN_AS)
async def test_an_empty_ledger_says_what_to_do_first(chromium: Any, empty: Dashboard, scheme: str, width: str) -> None:
    context = await chromium.new_context(color_scheme=scheme, viewport={"width": WIDTHS[width], "height": 844})
    async with context:
        page = await context.new_page()
        await page.goto(await empty.login_link())
        await page.wait_for_url(lambda url: "/login" not in url)
        for name in ("attention", "workflows", "sources", "deliveries", "passes", "audit", "sources/civ"):
            answer = await page.goto(f"{empty.url}/{name}")
            assert answer.status == 200, name
            await looked_at(page, f"empty-{name.replace('/', '-')}-{scheme}-{width}")


async def test_a_film_is_seen_before_it_is_played_and_one_that_cannot_be_loaded_says_so(
    chromium: Any, dashboard: Dashboard, state: dict[str, Any]
) -> None:
    lost = "[...document.querySelectorAll('.files .nothing')].map((one) => one.textContent)"
    films = "[...document.querySelectorAll('.files video')].map((one) => one.videoWidth)"
    context = await chromium.new_context(storage_state=state)
    async with context:
        page = await context.new_page()
        await page.goto(f"{dashboard.url}/workflows/civ/{LOST}")
        await until(lambda: page.evaluate("document.querySelector('.files img').naturalWidth > 0"))
        await until(lambda: page.evaluate(f"{lost}.includes('cannot be loaded')"))
        await until(lambda: page.evaluate(f"{films}.length === 1 && {films}[0] > 0"))


@pytest.mark.parametrize("width", sorted(WIDTHS))
async def test_no_method_is_broken_in_two_on_the_reference_page(chromium: Any, empty: Dashboard, width: str) -> None:
    context = await chromium.new_context(viewport={"width": WIDTHS[width], "height": 844})
    async with context:
        page = await context.new_page()
        await page.goto(f"{empty.url}/reference")
        assert await page.locator("nav b").count() > 20
        words = await page.evaluate(
            "[...document.querySelectorAll('nav b')].filter((one) => { const range = document.createRange(); "
            "range.selectNodeContents(one); return range.getClientRects().length > 1; }).map((one) => one.textContent)"
        )
        assert words == []
