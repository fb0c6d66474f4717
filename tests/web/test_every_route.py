"""What holds on every route there is, so that a new one cannot be forgotten: who may come in, what is sent along."""

from __future__ import annotations

import asyncio
import re

import pytest
from starlette.routing import Route

from receiver.config import Config
from receiver.ledger.database import Database
from receiver.redaction import Redactor
from receiver.web.app import build_app
from receiver.web.pages.statics import statics
from tests.web.asking import Api, make_token
from tests.web.browsing import Browser, logged_in
from tests.web.client import ask
from tests.web.conftest import Receiving, Running
from tests.web.rows import everything

# Whoever comes may have these; all else is for those with a token.
FOR_EVERYBODY = {
    ("GET", "/login"), ("HEAD", "/login"), ("POST", "/login"),
    ("GET", "/static/{name:path}"), ("HEAD", "/static/{name:path}"),
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/openapi.json"), ("GET", "/reference"), ("HEAD", "/healthz"),
    ("HEAD", "/readyz"), ("HEAD", "/openapi.json"), ("HEAD", "/reference"),
}  # fmt: skip
# What a `read` token may send although it is no GET: questions, a link to what it may see, and leaving.
READS = {"/v1/advice", "/v1/blobs/{source}/{id}/share", "/login", "/logout"}
GIVEN = {"ref": "x", "source": "civ", "id": "x", "kind": "overdue", "name": "civ", "name:path": "base.css"}


async def routes(url: str) -> list[tuple[str, str]]:
    """Every method of every route; deliveries have their own proofs and tests."""
    config = Config.model_validate({"database": {"url": url}})
    database = await Database.open(url)
    app = build_app(config, database, Redactor(()))
    await database.close()
    assert all(isinstance(one, Route) for one in app.routes)
    found = [
        (method, one.path)
        for one in app.routes
        if isinstance(one, Route) and one.path != "/hooks/{source}"
        for method in sorted(one.methods or {"GET", "POST"})
    ]
    assert len(found) > 60
    return found


def filled(path: str) -> str:
    return re.sub(r"\{([\w:]+)\}", lambda one: GIVEN[one[1]], path)


async def test_without_a_token_there_is_the_login_and_nothing_else(receiver: Running, database: Database) -> None:
    await make_token(database, "admin")
    await Api(receiver, await make_token(database, "write")).deliver("x", "processing")
    before = await everything(database)
    for method, path in await routes(receiver.site.config.database.url):
        if (method, path) in FOR_EVERYBODY:
            continue
        for headers in ({"accept": "text/html"}, {"accept": "application/json"}, {"hx_request": "true"}):
            for more in ({}, {"authorization": "Bearer hl_" + "a" * 43}, {"cookie": "hookledger=" + "a" * 43}):
                answer = await ask(method, receiver.url + filled(path), **headers, **more)
                assert answer.status in (303, 401), (method, path, answer.status)
                if answer.status == 303:
                    assert answer.headers["location"].startswith("/login"), (method, path)
                    assert answer.body == b""
                elif answer.body:
                    assert answer.json["type"] in ("/problems/no-token", "/problems/wrong-token"), (method, path)
    assert await everything(database) == before


async def test_a_read_token_changes_nothing_anywhere(receiver: Running, database: Database) -> None:
    await Api(receiver, await make_token(database, "write")).deliver("x", "processing")
    token, browser = await make_token(database, "read", "reader"), await logged_in(receiver, database, "read", "looker")
    pledge = await browser.pledge()
    assert (await ask("GET", f"{receiver.url}/v1/workflows", authorization=f"Bearer {token}")).status == 200
    before = await everything(database)
    for method, path in await routes(receiver.site.config.database.url):
        if method in ("GET", "HEAD") or path in READS:
            continue
        url = receiver.url + filled(path)
        if path.startswith("/v1/"):
            answer = await ask(method, url, b"{}", authorization=f"Bearer {token}")
        else:
            answer = await browser.send(filled(path), {"pledge": pledge, "kind": "overdue", "name": "x", "ref": "x"})
        assert answer.status == 403, (method, path, answer.status)
    assert await everything(database) == before


async def test_a_login_is_worth_nothing_to_the_api_but_for_what_its_pages_show(
    receiver: Running, database: Database
) -> None:
    browser = await logged_in(receiver, database, "admin")
    for method, path in await routes(receiver.site.config.database.url):
        if path.startswith("/v1/") and path != "/v1/stream":
            assert (await browser.ask(method, filled(path), sec_fetch_site="same-origin")).status == 401, path


async def test_every_answer_says_how_it_may_be_used(receiver: Running, database: Database) -> None:
    api = Api(receiver, await make_token(database, "admin", "app"))
    await api.deliver("x", "processing")
    browser = await logged_in(receiver, database, "admin")
    for method, path in await routes(receiver.site.config.database.url):
        if method != "GET" or path == "/v1/stream":
            continue
        asked: dict[str, str] = {"authorization": f"Bearer {api.token}"} if path.startswith("/v1") else {}
        answer = await browser.get(filled(path), **asked)
        headers = answer.headers
        assert headers["cache-control"].startswith(("no-store", "private, no-cache", "no-cache", "public")), path
        if path.startswith("/static"):
            continue
        assert not headers["cache-control"].startswith("public") or path in ("/openapi.json", "/reference"), path
        if answer.status == 303:
            continue
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-robots-tag"] == "noindex", path
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["cross-origin-resource-policy"] == "same-origin", path
        assert headers["x-frame-options"] == "DENY", path
        if headers["content-type"].startswith("text/html"):
            assert headers["cross-origin-opener-policy"] == "same-origin", path
            assert "camera=()" in headers["permissions-policy"], path
        else:
            assert headers["referrer-policy"] == "no-referrer", path
        if headers["content-type"].startswith("text/html") and path != "/reference":
            assert headers["referrer-policy"] == "same-origin", path


async def test_whoever_comes_over_https_is_told_never_to_come_without_it(
    receiving: Receiving, database: Database
) -> None:
    token = await make_token(database, "admin")
    async with receiving(public_url="https://hooks.example.com") as running:
        for method, path in await routes(running.site.config.database.url):
            if method != "GET" or path == "/v1/stream":
                continue
            for host, told in (("hooks.example.com", "max-age=31536000"), ("127.0.0.1", None)):
                asked = {"authorization": f"Bearer {token}", "host": host}
                answer = await ask(method, running.url + filled(path), **asked)
                assert answer.headers.get("strict-transport-security") == told, (path, host)


async def test_what_everybody_may_have_holds_nothing_of_the_ledger(receiver: Running, database: Database) -> None:
    await Api(receiver, await make_token(database, "write")).deliver("a-name-to-look-for", "processing")
    for method, path in sorted(FOR_EVERYBODY):
        if method == "GET":
            answer = await ask(method, receiver.url + filled(path), accept="text/html")
            assert answer.status in (200, 503), path
            assert b"a-name-to-look-for" not in answer.body
    assert set(statics()) >= {"app.js", "base.css"}


@pytest.mark.parametrize("path", ["/v1/workflows", "/workflows", "/blobs/civ/x"])
async def test_a_method_that_is_not_there_is_told_so(receiver: Running, database: Database, path: str) -> None:
    browser = Browser(receiver)
    assert (await browser.ask("DELETE", path)).status == 405


async def test_every_method_an_address_takes_is_named_in_one_header(receiver: Running) -> None:
    port = int(receiver.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"DELETE /v1/workflows HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    told = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    assert told.startswith("HTTP/1.1 405")
    assert [line for line in told.splitlines() if line.lower().startswith("allow:")] == ["allow: GET, HEAD, POST"]
