"""What a connection may cost before it has said what it wants, and whose word about addresses is believed."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.web.client import Answer, NoAnswer, ask, connect, event, head, read_answer
from tests.web.conftest import Receiving, Running
from tests.web.rows import blocked


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: hardly any of this gets that far."""
    return sqlite_url


async def _closed(reader: asyncio.StreamReader, within: float) -> None:
    assert await asyncio.wait_for(reader.read(), within) == b""


async def test_a_connection_that_says_nothing_is_closed(receiving: Receiving) -> None:
    async with receiving(body_timeout=0.3) as running:
        reader, writer = await connect(running.url)
        await _closed(reader, 3)
        writer.close()


async def _all_gone(running: Running) -> None:
    """Wait until the server has no connection left."""
    for _ in range(500):
        if not running.site.door.open:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("connections are still open after ten seconds")


@pytest.mark.parametrize("drop", [b"P", b"\r\n"])
async def test_a_head_that_trickles_is_closed(receiving: Receiving, drop: bytes) -> None:
    async with receiving(body_timeout=0.4) as running:
        for first in (b"", head("POST", running.hook(), {"content-length": "2"}) + b"{}"):
            reader, writer = await connect(running.url)
            if first:
                # The second request of a connection has no more time than the first.
                writer.write(first)
                await read_answer(reader)
            closing = asyncio.create_task(reader.read())
            async with asyncio.timeout(3):
                while not closing.done():
                    writer.write(drop)
                    await asyncio.sleep(0.05)
            writer.close()


async def test_an_idle_connection_between_two_deliveries_is_kept(receiving: Receiving) -> None:
    async with receiving(body_timeout=0.3) as running:
        reader, writer = await connect(running.url)
        for n in range(2):
            body = event(f"wf-{n}", "failed")
            writer.write(head("POST", running.hook(), {"content-length": str(len(body))}) + body)
            assert (await read_answer(reader)).status == 200
            await asyncio.sleep(0.6)
        writer.close()


@pytest.mark.parametrize("start", [b"POST /hooks/civ HTTP/1.1\r\nx-endless: ", b"POST /hooks/"])
async def test_a_head_without_end_is_cut_off(receiver: Running, start: bytes) -> None:
    reader, writer = await connect(receiver.url)
    writer.write(start)
    answer: Answer | None = None
    try:
        async with asyncio.timeout(10):
            for _ in range(200):
                writer.write(b"x" * 65536)
                await writer.drain()
            answer = await read_answer(reader)
    except (ConnectionError, NoAnswer):
        pass
    writer.close()
    assert answer is None or answer.status == 431
    assert (await ask("POST", receiver.hook(), event("wf-1", "failed"))).status == 200


@pytest.mark.parametrize(
    ("path", "length"),
    [("/hooks/civ", "5000"), ("/hooks/civ", "900000"), ("/hooks/civ", None), ("/hooks/nobody", "5000")]
    + [(path, length) for path in ("/v1/workflows", "/healthz", "/nowhere") for length in ("900000", None)],
)
async def test_a_body_that_trickles_is_cut_off_whatever_it_is_for(
    receiving: Receiving, path: str, length: str | None
) -> None:
    headers = {"transfer-encoding": "chunked"} if length is None else {"content-length": length}
    async with receiving(body_timeout=0.4) as running:
        reader, writer = await connect(running.url)
        writer.write(head("POST", running.url + path, headers))
        closing = asyncio.create_task(reader.read())
        async with asyncio.timeout(6):
            while not closing.done():
                writer.write(b"1\r\n \r\n")
                await asyncio.sleep(0.05)
        assert closing.result()[9:12] in (b"401", b"404", b"405", b"408")
        assert closing.result().count(b"HTTP/1.1") == 1, "one request, one answer"
        writer.close()


async def test_a_body_just_fast_enough_to_seem_alive_has_one_deadline_for_all_of_it(receiving: Receiving) -> None:
    async with receiving(body_timeout=1) as running:
        reader, writer = await connect(running.url)
        writer.write(head("POST", running.hook(), {"content-length": "1000000"}))
        closing = asyncio.create_task(reader.read())
        sent = 0
        async with asyncio.timeout(6):
            while not closing.done():
                writer.write(b" " * 10_000)
                sent += 10_000
                await asyncio.sleep(0.05)
        assert closing.result()[9:12] == b"408"
        assert sent < 1_000_000
        writer.close()


async def _large(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(20):
        await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class _Large:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _large(scope, receive, send)


async def test_a_client_that_does_not_read_its_answer_holds_little_and_not_for_ever(receiving: Receiving) -> None:
    async with receiving(body_timeout=1) as running:
        running.site.door.read_within = 1.0  # twenty seconds are a long time for a test
        running.app.router.routes.append(Route("/large", _Large()))
        _, writer = await connect(running.url)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head("GET", f"{running.url}/large", {}))
        await asyncio.sleep(0.5)
        (connection,) = running.server.server_state.connections
        assert connection.transport.get_write_buffer_size() < 2 * 2**20
        await _all_gone(running)
        assert running.site.door.turned_away["answer not read"] == 1
        writer.close()


async def test_a_client_that_reads_its_answer_slowly_gets_all_of_it(receiving: Receiving) -> None:
    async with receiving(body_timeout=1) as running:
        running.site.door.read_within = 1.0
        running.app.router.routes.append(Route("/large", _Large()))
        reader, writer = await connect(running.url)
        writer.write(head("GET", f"{running.url}/large", {"connection": "close"}))
        size = 0
        while part := await reader.read(2**18):
            size += len(part)
            await asyncio.sleep(0.03)
        assert size > 20 * 2**20
        writer.close()


STAGES = {
    "head": b"POST /hooks/civ HTTP/1.1\r\nhost: a\r\nx-",
    "body": b"POST /hooks/civ HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{",
    "late body": b"POST /hooks/civ HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b" " * 50_000,
}


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_is_a_counter_and_not_a_traceback(
    receiving: Receiving, database_url: str, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async with receiving(body_timeout=5) as running:

        async def leave(words: bytes, after: float = 0.05) -> None:
            _, writer = await connect(running.url)
            writer.write(words)
            await writer.drain()
            await asyncio.sleep(after)
            writer.transport.abort() if how == "reset" else writer.close()

        running.app.router.routes.append(Route("/large", _Large()))
        await asyncio.gather(*(leave(words) for words in STAGES.values()), leave(b""))
        async with blocked(database_url):
            whole = event("wf-1", "failed")
            await leave(head("POST", running.hook(), {"content-length": str(len(whole))}) + whole, 0.2)
        await leave(head("GET", f"{running.url}/large", {}), 0.2)
        await _all_gone(running)
        assert dict(running.site.door.left) == {"head": 1, "body": 2, "waiting": 1, "answer": 1}
        assert not any(running.site.door.turned_away.values())
    assert [record for record in caplog.records if record.name != "hookledger"] == []
    assert "Traceback" not in caplog.text


async def _client_of(scope: Scope, receive: Receive, send: Send) -> None:
    body = json.dumps([scope["client"][0], scope["scheme"]]).encode()
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


class _ClientOf:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _client_of(scope, receive, send)


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [
        ((), ["127.0.0.1", "http"]),
        (("10.0.0.0/8",), ["127.0.0.1", "http"]),
        (("127.0.0.0/8",), ["203.0.113.9", "https"]),
    ],
)
async def test_only_a_trusted_proxy_is_believed_about_the_client(
    receiving: Receiving, trusted: tuple[str, ...], seen: list[str]
) -> None:
    async with receiving(trusted_proxies=trusted) as running:
        running.app.router.routes.append(Route("/client", _ClientOf()))
        answer = await ask("GET", f"{running.url}/client", x_forwarded_for="203.0.113.9", x_forwarded_proto="https")
    assert answer.json == seen
