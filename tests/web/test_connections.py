"""What a connection may cost before it has said what it wants, and whose word about addresses is believed."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.web.client import Answer, NoAnswer, ask, connect, event, head, read_answer
from tests.web.conftest import Receiving, Running


async def _closed(reader: asyncio.StreamReader, within: float) -> None:
    assert await asyncio.wait_for(reader.read(), within) == b""


async def test_a_connection_that_says_nothing_is_closed(receiving: Receiving) -> None:
    async with receiving(body_timeout=0.3) as running:
        reader, writer = await connect(running.url)
        await _closed(reader, 3)
        writer.close()


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
    assert answer is None or answer.status == 400
    assert (await ask("POST", receiver.hook(), event("wf-1", "failed"))).status == 200


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
