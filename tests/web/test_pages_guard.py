"""Forms of other sites, the headers of pages, and what hostile texts become."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from receiver.ledger.database import Database
from tests.web.asking import Api, Upstream, document, make_token
from tests.web.browsing import Browser, logged_in
from tests.web.conftest import Receiving, Running

NASTY = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'-alert(1)-'", "{{ 7191*7193 }}", "${7191*7193}",
    "javascript:alert(1)", "</pre><svg onload=alert(1)>", "a&b<c>", "\u202eevil", "]]>--><b>",
]  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1"},
    ],
)
async def test_a_form_of_another_site_does_nothing(
    receiver: Running, database: Database, headers: dict[str, str]
) -> None:
    browser = await logged_in(receiver, database, "write")
    fields = {"pledge": await browser.pledge(), "name": "x", "query": "state=open"}
    answer = await browser.send("/workflows/links", fields, **headers)
    assert answer.status == 403
    assert "page of this dashboard" in answer.body.decode()
    assert "state=open" not in await browser.see("/workflows")
    assert (await Browser(receiver).send("/login", {"token": "x"}, **headers)).status == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1"])
async def test_a_browser_that_only_names_the_origin_is_judged_by_it(
    receiver: Running, database: Database, origin: str
) -> None:
    browser = await logged_in(receiver, database, "write")
    fields = {"pledge": await browser.pledge(), "name": "x", "query": "state=open"}
    body = {"content-type": "application/x-www-form-urlencoded"}
    sent = urlencode(fields).encode()
    answer = await browser.ask("POST", "/workflows/links", sent, **body, **({"origin": origin} if origin else {}))
    assert answer.status == 403
    answer = await browser.ask("POST", "/workflows/links", sent, **body, origin=receiver.url)
    assert answer.status == 303


@pytest.mark.parametrize("pledge", ["", "0" * 64, "é"])
async def test_a_form_without_the_visitors_own_pledge_does_nothing(
    receiver: Running, database: Database, pledge: str
) -> None:
    browser = await logged_in(receiver, database, "write")
    other = await logged_in(receiver, database, "write", "other")
    for given in (pledge, await other.pledge()):
        answer = await browser.send("/workflows/links", {"pledge": given, "name": "x", "query": "state=open"})
        assert answer.status == 403
    assert (await browser.press("/workflows/links", name="x", query="state=open")).status == 303


async def test_a_form_that_is_none_is_refused_and_breaks_nothing(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database, "write")
    for body in (b"\xff\xfe", b"a=%ff%fe", b"a=1&" * 60, b"x" * 70_000):
        answer = await browser.ask("POST", "/workflows/links", body, sec_fetch_site="same-origin")
        assert answer.status in (400, 403, 413)


@pytest.mark.parametrize("path", ["/login", "/workflows", "/workflows/civ/none", "/sources/civ"])
async def test_every_page_carries_the_headers_that_keep_it_in_place(
    receiver: Running, database: Database, path: str
) -> None:
    browser = await logged_in(receiver, database)
    if path == "/login":
        browser = Browser(receiver)
    headers = (await browser.get(path)).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert (policy["script-src"], policy["style-src"]) == ("'self'", "'self'")
    assert (policy["frame-ancestors"], policy["base-uri"], policy["form-action"]) == ("'none'", "'none'", "'self'")
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "strict-transport-security" not in headers


async def test_only_the_page_of_files_lets_pictures_come_from_where_files_lie(
    receiver: Running, database: Database
) -> None:
    browser = await logged_in(receiver, database)
    await Api(receiver, await make_token(database, "write", "app")).deliver("w1", "processing")
    policy = (await browser.get("/workflows/civ/w1")).headers["content-security-policy"]
    assert "img-src 'self' https://" in policy
    assert (await browser.get("/workflows")).headers["content-security-policy"].endswith("media-src 'self'")


async def test_no_page_holds_script_or_style_of_its_own(receiver: Running, database: Database, config: Any) -> None:
    browser = await logged_in(receiver, database, "admin")
    api = Api(receiver, await make_token(database, "write", "app"))
    await api.deliver("w1", "processing")
    await Upstream(database, config).settle("w1", document("w1", url="https://blobs.civitai.com/a.jpeg"))
    for path in ("/login", "/attention", "/workflows", "/workflows/civ/w1", "/sources", "/sources/civ", "/deliveries"):
        page = await browser.see(path) if path != "/login" else await Browser(receiver).see(path)
        assert not re.search(r"<script(?![^>]*\ssrc=)", page)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", page)
        assert not re.search(r"(src|href)=\"(https?:)?//", page)


@pytest.mark.parametrize("text", NASTY)
async def test_hostile_texts_are_shown_and_never_run(
    receiver: Running, database: Database, config: Any, text: str
) -> None:
    browser = await logged_in(receiver, database, "admin")
    api = Api(receiver, await make_token(database, "write", "app"))
    name = re.sub(r"[/\u202e]", "", text)
    told = {"source": "civ", "id": name, "context": {"label": text}, "request": {"prompt": text}, "ref": "r"}
    assert (await api.post("/v1/workflows", told)).status == 201
    shown = document(name, "failed")
    shown["steps"][0] |= {"name": name, "jobs": [{"id": "j", "status": "failed", "reason": text}]}
    await Upstream(database, config).settle(name, shown)
    (item,) = (await api.get("/v1/workflows")).json["items"]
    evidence = (await api.get(f"/v1/workflows/civ/{_seg(item['id'])}/evidence")).json["items"]
    paths = ["/workflows", "/deliveries?kind=any", *(f"/evidence/{one['id']}" for one in evidence)]
    paths += [f"/workflows/civ/{_seg(item['id'])}{more}" for more in ("", "/document", "/incident")]
    for path in [*paths, f"/workflows?q={_seg(text)}", f"/workflows?source={_seg(text)}", f"/no-such/{_seg(text)}"]:
        page = (await browser.get(path)).body.decode()
        for raw in ("<script>alert", "<img src=x", "<svg onload", "<b>", "</pre><svg"):
            assert raw not in page, path
        assert "51724863" not in page, "nobody worked it out"
        assert 'href="javascript:' not in page


def _seg(text: str) -> str:
    return quote(text, safe="")


async def test_secrets_that_upstream_echoes_are_on_no_page(receiver: Running, database: Database, config: Any) -> None:
    browser = await logged_in(receiver, database, "admin")
    api = Api(receiver, await make_token(database, "write", "app"))
    secret = "hook-token-of-the-tests-1"
    await api.deliver("w1", "processing", note=f"https://x.example/hooks/civ?token={secret}")
    shown = document("w1", "failed") | {"callbacks": [{"url": f"https://x.example/?token={secret}"}]}
    await Upstream(database, config).settle("w1", shown)
    evidence = (await api.get("/v1/workflows/civ/w1/evidence")).json["items"]
    paths = ["/workflows/civ/w1", "/workflows/civ/w1/document", "/workflows/civ/w1/incident"]
    for path in [*paths, *(f"/evidence/{one['id']}" for one in evidence)]:
        assert secret not in await browser.see(path)
    assert "[secret]" in await browser.see("/workflows/civ/w1/document")


async def test_bodies_are_for_those_who_may_see_everything(receiver: Running, database: Database) -> None:
    api = Api(receiver, await make_token(database, "write", "app"))
    await api.deliver("w1", "processing", note="a word in the body")
    (evidence,) = (await api.get("/v1/workflows/civ/w1/evidence")).json["items"]
    for scope, sees in (("read", False), ("write", False), ("admin", True)):
        browser = await logged_in(receiver, database, scope)
        assert ("a word in the body" in await browser.see(f"/evidence/{evidence['id']}")) is sees


async def test_a_page_that_is_renewed_in_place_never_becomes_the_login(
    receiving: Receiving, database: Database
) -> None:
    async with receiving() as running:
        await make_token(database, "read")
        answer = await Browser(running).get("/workflows", hx_request="true")
        assert (answer.status, answer.headers["hx-refresh"], answer.body) == (401, "true", b"")
