"""`/v1/stream` over a socket: events as they happen, taken up where they broke off, ended with their token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event

from receiver.ledger import audit, tokens
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.web.api_stream import STILL_HERE
from receiver.web.openapi.answers import Happening
from tests.web.asking import Api, make_token
from tests.web.browsing import logged_in
from tests.web.client import connect, head
from tests.web.conftest import Receiving, Running


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "read"))


class Stream:
    """An open stream; `next` is the next event as (id, data)."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._lines: list[str] = []
        self.last = ""

    async def block(self) -> dict[str, str]:
        """The next block of lines, chunk framing taken off; {} at the end."""
        fields: dict[str, str] = {}
        while line := (await self._reader.readline()).decode():
            line = line.rstrip("\r\n")
            if line == "0":
                return {}  # the last chunk
            if not line and fields:
                self.last = fields.get("id", self.last)
                return fields
            name, colon, value = line.partition(": ")
            if colon and name:
                fields[name] = value
        return {}

    async def next(self) -> Any:
        async with asyncio.timeout(15):
            while True:
                fields = await self.block()
                if not fields or "data" in fields:
                    return json.loads(fields["data"]) if fields else None


@asynccontextmanager
async def streaming(api: Api, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    url = f"{api.running.url}/v1/stream{query}"
    reader, writer = await connect(url)
    try:
        writer.write(head("GET", url, {"authorization": f"Bearer {api.token}", **headers}))
        status = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert "200 OK" in status
        assert "text/event-stream" in status
        stream = Stream(reader)
        await stream.block()
        yield stream
    finally:
        writer.close()


async def test_transitions_are_told_as_they_are_committed(api: Api) -> None:
    await api.deliver("wf-0", "processing")
    async with streaming(api) as stream:
        await api.deliver("wf-1", "processing")
        await api.deliver("wf-1", "succeeded")
        told = [await stream.next(), await stream.next()]
    assert [(one["workflow"], one["from"], one["to"]) for one in told] == [
        ("wf-1", None, "processing"), ("wf-1", "processing", "succeeded"),
    ]  # fmt: skip
    for one in told:
        Happening.model_validate(one)


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_stream_goes_on_where_it_broke_off(api: Api, how: str) -> None:
    async with streaming(api) as stream:
        await api.deliver("wf-1", "processing")
        await stream.next()
    await api.deliver("wf-2", "processing")
    await api.deliver("wf-3", "processing")
    given = {"last-event-id": stream.last} if how == "header" else {}
    async with streaming(api, f"?after={stream.last}" if how == "query" else "", **given) as again:
        assert [(await again.next())["workflow"] for _ in range(2)] == ["wf-2", "wf-3"]


async def test_a_stream_survives_the_end_of_its_server(receiving: Receiving, database: Database) -> None:
    token = await make_token(database, "read")
    async with receiving() as first:
        api = Api(first, token)
        async with streaming(api) as stream:
            await api.deliver("wf-1", "processing")
            await stream.next()
            first.server.stop()
            assert await stream.next() is None
    async with receiving() as second:
        api = Api(second, token)
        await api.deliver("wf-2", "processing")
        async with streaming(api, **{"last-event-id": stream.last}) as again:
            assert (await again.next())["workflow"] == "wf-2"


async def test_a_stream_can_be_about_one_workflow_or_source(api: Api) -> None:
    async with streaming(api, "?workflow=wf-2&source=civ") as stream:
        await api.deliver("wf-1", "processing")
        await api.deliver("wf-2", "processing")
        assert (await stream.next())["workflow"] == "wf-2"


async def test_a_stream_ends_with_its_token(api: Api, database: Database) -> None:
    async with streaming(api) as stream:
        async with database.write() as connection:
            await tokens.revoke(connection, "tests-read", await database_now(connection))
        assert await stream.next() is None


@pytest.mark.parametrize("query", ["?hints=only", "?hints=true&workflow=wf-1", ""])
async def test_a_stream_ends_when_its_browser_logs_out_and_another_ones_goes_on(
    receiver: Running, database: Database, api: Api, query: str
) -> None:
    browsers = [await logged_in(receiver, database, "read", name) for name in ("anna", "berta")]
    async with AsyncExitStack() as open_ones:
        ends, stays = [
            await open_ones.enter_async_context(streaming(Api(receiver, ""), query, authorization="", cookie=cookie))
            for cookie in ("; ".join(f"{key}={value}" for key, value in one.cookies.items()) for one in browsers)
        ]
        await asyncio.sleep(1.5)  # until the watch has seen both logins
        assert (await browsers[0].press("/logout")).status == 303
        async with asyncio.timeout(STILL_HERE / 2):  # sooner than it would ask by itself
            while await ends.block():
                pass
        await api.deliver("wf-1", "processing")
        assert await stays.next() is not None


async def test_what_follows_asks_for_its_worth_only_when_that_may_have_changed(
    receiver: Running, database: Database, api: Api
) -> None:
    async with streaming(api, "?hints=only") as stream:
        await asyncio.sleep(0.5)
        asked: list[str] = []
        async with receiver.site.database.read() as connection:
            engine = connection.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
        for n in range(3):
            await api.deliver(f"wf-{n}", "processing")
            await hint(stream)
        # Each poll asks for a mark of all tokens; of one by its name nobody may have asked.
        assert [one for one in asked if "tokens" in one and "name =" in one] == []


async def hint(stream: Stream) -> Any:
    """The next hint that says something is not everything."""
    async with asyncio.timeout(15):
        while True:
            fields = await stream.block()
            assert fields
            if fields.get("event") == "hint" and not json.loads(fields["data"])["everything"]:
                assert "id" not in fields
                return json.loads(fields["data"])


async def test_hints_tell_of_what_changes_without_a_transition(api: Api, database: Database) -> None:
    await api.deliver("wf-1", "processing")
    async with streaming(api, "?hints=true") as stream:
        await asyncio.sleep(0.5)  # until the poll stands where the ledger does
        await api.deliver("wf-1", "processing", note="again")
        assert await hint(stream) == {
            "workflows": [{"source": "civ", "workflow": "wf-1"}], "everything": False, "also": [],
        }  # fmt: skip
        async with database.write() as connection:
            await audit.note(connection, "anna", "share", await database_now(connection))
        assert (await hint(stream))["also"] == ["audit"]


async def test_hints_can_be_all_there_is(api: Api) -> None:
    async with streaming(api, "?hints=only") as stream:
        await asyncio.sleep(0.5)
        await api.deliver("wf-1", "processing")
        assert (await hint(stream))["workflows"] == [{"source": "civ", "workflow": "wf-1"}]
    assert (await api.get("/v1/stream", hints="some")).json["type"] == "/problems/bad-filter"


async def test_hints_are_for_who_asks_for_them_and_of_what_was_asked_for(api: Api) -> None:
    async with streaming(api, "?hints=true&workflow=wf-2") as about_one, streaming(api) as without:
        await asyncio.sleep(0.5)
        await api.deliver("wf-1", "processing")
        await api.deliver("wf-2", "processing")
        told = await hint(about_one)
        assert told["workflows"] == [{"source": "civ", "workflow": "wf-2"}]
        for name in ("wf-1", "wf-2"):
            fields = await without.block()
            assert (fields["event"], json.loads(fields["data"])["workflow"]) == ("transition", name)


async def test_whoever_is_logged_in_may_follow_until_the_login_ends(
    receiver: Running, database: Database, api: Api
) -> None:
    browser = await logged_in(receiver, database, "read", "anna")
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    other = Api(receiver, "")
    async with streaming(other, authorization="", cookie=cookie) as stream:
        await api.deliver("wf-1", "processing")
        assert (await stream.next())["workflow"] == "wf-1"
        async with database.write() as connection:
            await tokens.revoke(connection, "anna", await database_now(connection))
        assert await stream.next() is None


async def test_many_who_follow_ask_the_ledger_little_while_nothing_happens(api: Api, database: Database) -> None:
    async with AsyncExitStack() as open_ones:
        for _ in range(20):
            await open_ones.enter_async_context(streaming(api))
        await asyncio.sleep(0.5)
        assert api.running.site.watch.listeners == 20
        asked: list[str] = []
        async with api.running.site.database.read() as connection:
            engine = connection.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
        await asyncio.sleep(1.0)
        assert len(asked) < 60, "one poll for all of them"
    async with asyncio.timeout(10):
        while api.running.site.watch.listeners:  # noqa: ASYNC110 - the server notices in its own time
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("query", [{"after": "x"}, {"after": "WyJ0Iiwx"}, {"source": ""}, {"spam": "1"}])
async def test_what_cannot_be_followed_is_a_clear_problem(api: Api, query: dict[str, str]) -> None:
    answer = await api.get("/v1/stream", **query)
    assert answer.status == 400 or query == {"after": ""}


async def test_a_stream_needs_a_token(api: Api) -> None:
    api.token = None
    assert (await api.get("/v1/stream")).status == 401
