"""Who may see the dashboard, and what the browser is given to keep."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest

from receiver.ledger import sessions, tokens
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.operations import login_codes
from receiver.ledger.operations import sessions as sessions_table
from tests.web.asking import make_token
from tests.web.browsing import Browser, logged_in
from tests.web.conftest import Receiving, Running
from tests.web.rows import rows

PAGES = [
    "/", "/attention", "/workflows", "/workflows/civ/x", "/workflows/civ/x/document", "/workflows/civ/x/incident",
    "/sources", "/sources/civ", "/deliveries", "/evidence/abc", "/passes", "/audit", "/no-such-page",
]  # fmt: skip
BUTTONS = [
    "/workflows/civ/x/refetch", "/workflows/civ/x/ack", "/attention/ack", "/workflows/links", "/workflows/links/remove",
]  # fmt: skip


async def code_for(database: Database, name: str) -> str:
    async with database.write() as connection:
        return await sessions.make_code(connection, name, await database_now(connection))


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_login_every_page_leads_to_the_login_and_tells_nothing(
    receiver: Running, database: Database, path: str
) -> None:
    await make_token(database, "admin")
    answer = await Browser(receiver).get(path)
    assert (answer.status, answer.body) == (303, b"")
    assert answer.headers["location"] == ("/login" if path == "/" else f"/login?next={quote(path, safe='')}")


@pytest.mark.parametrize("path", BUTTONS)
async def test_without_a_login_no_button_does_anything(receiver: Running, database: Database, path: str) -> None:
    await make_token(database, "admin")
    answer = await Browser(receiver).send(path, {"pledge": "0" * 64})
    assert (answer.status, answer.headers["location"]) == (303, "/login")


@pytest.mark.parametrize("path", BUTTONS)
async def test_a_read_token_sees_no_button_and_can_press_none(receiver: Running, database: Database, path: str) -> None:
    browser = await logged_in(receiver, database, "read")
    answer = await browser.press(path, kind="overdue", name="x", query="state=open", ref="x")
    assert answer.status == 403
    assert "needs a token with the scope write" in answer.body.decode()
    page = await browser.see("/workflows?state=open")
    assert 'action="/workflows/links"' not in page


async def test_a_login_opens_every_page(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    for path in ("/attention", "/workflows", "/sources", "/sources/civ", "/deliveries", "/passes"):
        page = await browser.see(path)
        assert "<h1>" in page
    assert (await browser.get("/")).headers["location"] == "/workflows"


@pytest.mark.parametrize(
    "path", ["/workflows/civ/x", "/sources/none", "/evidence/abc", "/no-such-page", "/evidence/%00"]
)
async def test_what_is_not_there_is_a_page_that_says_so(receiver: Running, database: Database, path: str) -> None:
    browser = await logged_in(receiver, database)
    answer = await browser.get(path)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>" in answer.body.decode()


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(receiver: Running, database: Database) -> None:
    browser = Browser(receiver)
    token = await make_token(database, "read")
    await browser.send("/login", {"token": token})
    told = {part.strip().lower() for part in browser.set_cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=604800"} <= told
    assert not any(part.startswith("domain") for part in told)
    assert token not in browser.set_cookie


async def test_over_https_the_cookie_is_for_this_host_alone(receiving: Receiving, database: Database) -> None:
    async with receiving(public_url="https://hooks.example.com") as running:
        browser = Browser(running, headers={"accept": "text/html", "host": "hooks.example.com"})
        await browser.send("/login", {"token": await make_token(database, "read")})
        assert browser.set_cookie.startswith("__Host-hookledger=")
        assert "Secure" in browser.set_cookie
        page = await browser.get("/workflows")
        assert page.status == 200
        assert "max-age=" in page.headers["strict-transport-security"]
        # A cookie of the unprotected name, such as a neighbour may plant, is nobody's.
        browser.cookies = {"hookledger": browser.cookies["__Host-hookledger"]}
        assert (await browser.get("/workflows")).status == 303


async def test_a_session_is_kept_as_a_hash_only(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    kept = repr(await rows(database, sessions_table))
    assert browser.cookies["hookledger"] not in kept


async def test_a_session_ends_with_its_token(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database, name="mine")
    await make_token(database, "read", "other")
    assert (await browser.get("/workflows")).status == 200
    async with database.write() as connection:
        assert await tokens.revoke(connection, "mine", await database_now(connection))
    assert (await browser.get("/workflows")).status == 303


async def test_a_session_that_has_expired_is_worth_nothing(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    async with database.write() as connection:
        past = await database_now(connection) - timedelta(seconds=1)
        await connection.execute(sessions_table.update().values(expires_at=past))
    assert (await browser.get("/workflows")).status == 303


async def test_a_session_in_use_lasts_but_never_longer_than_a_week(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    async with database.write() as connection:
        now = await database_now(connection)
        begun = now - sessions.LONGEST + timedelta(hours=1)
        await connection.execute(
            sessions_table.update().values(created_at=begun, expires_at=now + timedelta(minutes=1))
        )
    assert (await browser.get("/workflows")).status == 200
    (row,) = await rows(database, sessions_table)
    assert row.expires_at == begun + sessions.LONGEST


async def test_logging_out_ends_the_session_here_and_in_the_browser(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    before = dict(browser.cookies)
    answer = await browser.press("/logout")
    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert "hookledger" not in browser.cookies
    assert await rows(database, sessions_table) == []
    browser.cookies = before
    assert (await browser.get("/workflows")).status == 303


async def test_without_any_token_the_login_says_how_to_make_one(receiver: Running) -> None:
    page = await Browser(receiver).see("/login")
    assert "hookledger token create" in page
    assert 'name="token"' not in page


async def test_a_wrong_token_opens_nothing_and_is_not_repeated(receiver: Running, database: Database) -> None:
    await make_token(database, "read")
    wrong = "hl_" + "a" * 43
    answer = await Browser(receiver).send("/login", {"token": wrong})
    assert answer.status == 401
    assert wrong not in answer.body.decode()
    assert "set-cookie" not in answer.headers


async def test_logins_are_rationed_by_address(receiver: Running, database: Database) -> None:
    token = await make_token(database, "read")
    browser = Browser(receiver)
    for _ in range(10):
        assert (await browser.send("/login", {"token": "hl_" + "b" * 43})).status == 401
    answer = await browser.send("/login", {"token": token})
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60


async def test_a_login_link_works_once_and_is_not_used_up_by_being_looked_at(
    receiver: Running, database: Database
) -> None:
    await make_token(database, "read", "mine")
    code = await code_for(database, "mine")
    browser = Browser(receiver)
    for _ in range(2):
        assert "logs this browser in" in await browser.see(f"/login?code={code}")
    answer = await browser.send("/login", {"code": code, "next": "/sources"})
    assert (answer.status, answer.headers["location"]) == (303, "/sources")
    assert (await browser.get("/sources")).status == 200
    assert (await Browser(receiver).send("/login", {"code": code})).status == 401
    assert code not in repr(await rows(database, login_codes))


async def test_a_login_link_stops_working_after_a_minute_or_with_its_token(
    receiver: Running, database: Database
) -> None:
    await make_token(database, "read", "mine")
    late, revoked = await code_for(database, "mine"), await code_for(database, "mine")
    async with database.write() as connection:
        now = await database_now(connection)
        await connection.execute(
            login_codes.update().where(login_codes.c.hash == tokens.digest(late)).values(expires_at=now)
        )
    assert (await Browser(receiver).send("/login", {"code": late})).status == 401
    async with database.write() as connection:
        await tokens.revoke(connection, "mine", await database_now(connection))
    assert (await Browser(receiver).send("/login", {"code": revoked})).status == 401


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a b", "/\r\nx: y"],
)
async def test_a_login_leads_to_no_other_place(receiver: Running, database: Database, target: str) -> None:
    answer = await Browser(receiver).send("/login", {"token": await make_token(database, "read"), "next": target})
    assert (answer.status, answer.headers["location"]) == (303, "/")


async def test_the_login_leads_back_to_where_somebody_was_going(receiver: Running, database: Database) -> None:
    token = await make_token(database, "read")
    browser = Browser(receiver)
    sent = (await browser.get("/workflows?source=civ&status=failed")).headers["location"]
    page = await browser.see(sent)
    assert 'name="next" value="/workflows?source=civ&amp;status=failed"' in page
    answer = await browser.send("/login", {"token": token, "next": "/workflows?source=civ&status=failed"})
    assert answer.headers["location"] == "/workflows?source=civ&status=failed"


async def test_a_blob_may_be_asked_for_by_who_is_logged_in(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    assert (await browser.get("/blobs/civ/none")).status == 404
    assert (await Browser(receiver).get("/blobs/civ/none", accept="*/*")).status == 401
    assert (await Browser(receiver).get("/blobs/civ/none")).headers["location"].startswith("/login")
    # The API proper takes no cookie: a form of another site could carry it there.
    assert (await browser.get("/v1/workflows")).status == 401
