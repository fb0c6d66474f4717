"""`/blobs/{source}/{id}`: a redirect to where the file can be had right now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from receiver.config import Config, load_config
from receiver.ledger.database import Database
from receiver.ledger.tables import blobs
from receiver.redaction import Redactor
from receiver.web.answers import clock
from receiver.web.app import build_app
from receiver.web.server import address_of, bind, running
from tests.web.asking import IMAGE, Api, Upstream, document, make_token
from tests.web.client import ask
from tests.web.conftest import TOKEN, Running

URL = "https://orchestration.civitai.com/v2/consumer/blobs/x.jpeg?sig=abc"
FRESH = URL.replace("abc", "fresh")
BLOB = f"/blobs/civ/{IMAGE}"


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "read"))


@pytest.fixture
def upstream(database: Database, config: Config) -> Upstream:
    return Upstream(database, config)


async def known(api: Api, upstream: Upstream, url: str | None, lives: float = 600, name: str = "wf-1") -> None:
    await api.deliver(name, "succeeded")
    await upstream.settle(name, document(name, url=url, lives=lives))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_url_that_works_is_where_one_is_sent(api: Api, upstream: Upstream, method: str) -> None:
    await known(api, upstream, URL)
    answer = await api.ask(method, BLOB)
    assert (answer.status, answer.headers["location"], answer.body) == (302, URL, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert upstream.asked == ["wf-1"]


@pytest.mark.parametrize("lives", [-5.0, 1.0])
async def test_an_expired_or_expiring_url_is_made_fresh_first(api: Api, upstream: Upstream, lives: float) -> None:
    await known(api, upstream, URL, lives)
    async with database_write(upstream) as connection:  # learned long ago, so that a second is little of its life
        await connection.execute(blobs.update().values(url_seen_at=clock().replace(year=2020)))
    upstream.holds["wf-1"] = document("wf-1", url=FRESH)
    async with upstream.answering():
        answer = await api.get(BLOB)
    assert (answer.status, answer.headers["location"]) == (302, FRESH)


def database_write(upstream: Upstream) -> Any:
    return upstream.database.write()


async def test_many_who_ask_at_once_have_upstream_asked_once(api: Api, upstream: Upstream) -> None:
    await known(api, upstream, URL, -5)
    upstream.holds["wf-1"] = document("wf-1", url=FRESH)
    async with upstream.answering():  # at once: some ask before the look, some during it, some after it
        answers = await asyncio.gather(*(api.get(BLOB) for _ in range(12)))
    assert {answer.headers["location"] for answer in answers} == {FRESH}
    assert upstream.asked == ["wf-1", "wf-1"]


async def test_a_url_nobody_has_confirmed_is_confirmed_before_anyone_is_sent_there(
    api: Api, upstream: Upstream
) -> None:
    forged = "https://orchestration.civitai.com/forged.jpeg"
    shown = document("wf-1", url=forged)
    event = {"$type": "step", "workflowId": "wf-1", "name": "$0", "status": "succeeded", "details": shown["steps"][0]}
    assert (await ask("POST", api.running.hook(), json.dumps(event).encode())).status == 200
    upstream.holds["wf-1"] = document("wf-1", url=URL)
    async with upstream.answering():
        answer = await api.get(BLOB)
    assert (answer.status, answer.headers["location"]) == (302, URL)


async def test_without_a_reconciler_the_answer_is_503_and_says_so(api: Api, upstream: Upstream) -> None:
    await known(api, upstream, URL, -5)
    answer = await api.get(BLOB)
    assert (answer.status, answer.json["type"]) == (503, "/problems/no-reconciler")
    assert int(answer.headers["retry-after"]) > 0


async def test_an_upstream_that_does_not_answer_is_not_called_a_missing_reconciler(
    api: Api, upstream: Upstream
) -> None:
    await known(api, upstream, URL, -5)
    upstream.holds["wf-1"] = "busy"
    async with upstream.answering():
        answer = await api.get(BLOB)
    assert (answer.status, answer.json["type"]) == (503, "/problems/upstream-busy")


async def test_a_file_that_is_gone_is_410_and_nobody_is_asked(api: Api, upstream: Upstream) -> None:
    await known(api, upstream, URL)
    async with database_write(upstream) as connection:
        await connection.execute(blobs.update().values(gone_at=clock()))
    answer = await api.get(BLOB)
    assert (answer.status, answer.json["type"]) == (410, "/problems/blob-gone")
    assert upstream.asked == ["wf-1"]


async def test_a_file_nobody_has_heard_of_is_404(api: Api) -> None:
    for path in ("/blobs/civ/nobody", f"/blobs/nobody/{IMAGE}", "/blobs/civ/%00"):
        answer = await api.get(path)
        assert (answer.status, answer.json["type"]) == (404, "/problems/unknown-blob")


async def test_a_file_that_upstream_blocks_is_said_to_be_unavailable(api: Api, upstream: Upstream) -> None:
    await known(api, upstream, None)
    async with upstream.answering():
        answer = await api.get(BLOB)
    assert (answer.status, answer.json["type"]) == (409, "/problems/blob-unavailable")


@pytest.mark.parametrize(
    "url",
    [
        "http://orchestration.civitai.com/x",
        "https://civitai.com.evil.example/x",
        "https://evilcivitai.com/x",
        "https://user@orchestration.civitai.com/x",
        "https://orchestration.civitai.com:x/y",
        "https://orchestration.civitai.com\\@evil.example/",
        "https://127.0.0.1/x",
        "http://127.0.0.1:9001/x",
        "javascript:alert(1)",
        "//evil.example/x",
        "https://orchestration.civitai.com/a\r\nset-cookie: x=y",
        "https://orchestration.civitai.com/ü",
        f"https://orchestration.civitai.com/x?token={TOKEN}",
    ],
)
async def test_nobody_is_sent_to_an_address_the_provider_does_not_have(api: Api, upstream: Upstream, url: str) -> None:
    await known(api, upstream, url)
    answer = await api.get(BLOB)
    assert (answer.status, answer.json["type"]) == (409, "/problems/blob-unavailable")
    assert "location" not in answer.headers
    assert "evil" not in answer.body.decode()


async def test_the_workflow_whose_url_lasts_longest_serves_a_file_that_several_name(
    api: Api, upstream: Upstream
) -> None:
    await known(api, upstream, URL, -5, "wf-1")
    await known(api, upstream, FRESH, 600, "wf-2")
    await known(api, upstream, URL, 300, "wf-3")
    assert (await api.get(BLOB)).headers["location"] == FRESH


@pytest.fixture
async def sandboxed(database: Database, config: Config) -> AsyncIterator[Api]:
    """A receiver whose upstream is a sandbox on this machine."""
    told = {
        "HOOKLEDGER_DATABASE__URL": config.database.url,
        "HOOKLEDGER_SOURCES__CIV__PROVIDER": "civitai",
        "HOOKLEDGER_SOURCES__CIV__BASE_URL": "http://127.0.0.1:9001",
        "HOOKLEDGER_SOURCES__CIV__HOOK_TOKEN": TOKEN,
    }
    chosen = load_config(env=told)
    app = build_app(chosen, database, Redactor(chosen.secret_values()))
    sock = bind("127.0.0.1", 0)
    url = address_of(sock)
    async with running(app, sock) as server:
        yield Api(Running(url, app.state.site, server), await make_token(database, "read"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9001/x?sig=1", "http://localhost:9002/x", URL])
async def test_a_sandbox_on_this_machine_serves_its_own_files(sandboxed: Api, upstream: Upstream, url: str) -> None:
    await known(sandboxed, upstream, url)
    answer = await sandboxed.get(BLOB)
    assert (answer.status, answer.headers["location"]) == (302, url)


async def test_a_sandbox_opens_no_other_host(sandboxed: Api, upstream: Upstream) -> None:
    await known(sandboxed, upstream, "http://evil.example/x")
    assert (await sandboxed.get(BLOB)).status == 409
