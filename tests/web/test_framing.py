"""HTTP as it should not be: smuggling, pipelining without end, wasteful chunks, trailers, upgrades, old versions."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from receiver.ledger.database import Database
from receiver.ledger.tables import evidence
from tests.web.client import Answer, NoAnswer, ask, connect, event, head, read_answer
from tests.web.conftest import Receiving, Running
from tests.web.rows import blocked, rows
from tests.web.test_door import turned_away

BODY = event("wf-1", "failed")
CHUNKED = {"transfer-encoding": "chunked"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: none of this gets that far."""
    return sqlite_url


async def say(running: Running, *words: bytes, then: float = 0.0, answers: int = 100) -> list[int]:
    """Send bytes as they are; return the status of each answer until the server closes, has been still for a while, or
    has given `answers`."""
    reader, writer = await connect(running.url)
    statuses = []
    with contextlib.suppress(ConnectionError, NoAnswer, TimeoutError):
        for word in words:
            writer.write(word)
            await writer.drain()
            await asyncio.sleep(then)
        while len(statuses) < answers:
            statuses.append((await asyncio.wait_for(read_answer(reader), 1.5)).status)
    writer.transport.abort()
    return statuses


def post(running: Running, headers: dict[str, str], body: bytes = b"") -> bytes:
    return head("POST", running.hook(), headers) + body


SMUGGLED = {
    "length and chunks": [("content-length", "{n}"), ("transfer-encoding", "chunked")],
    "chunks and length": [("transfer-encoding", "chunked"), ("content-length", "{n}")],
    "two lengths": [("content-length", "0"), ("content-length", "{n}")],
    "the same length twice": [("content-length", "{n}"), ("content-length", "{n}")],
    "a list of lengths": [("content-length", "0, {n}")],
    "a length with a sign": [("content-length", "+{n}")],
    "a length beyond all bounds": [("content-length", "9" * 30)],
    "no length": [("content-length", "")],
    "a coding nobody knows": [("transfer-encoding", "xchunked")],
    "identity": [("transfer-encoding", "identity")],
    "two codings": [("transfer-encoding", "chunked"), ("transfer-encoding", "identity")],
    "chunked and something after": [("transfer-encoding", "chunked, identity")],
    "a coding behind a vertical tab": [("transfer-encoding", "\x0bchunked")],
    "a blank before the colon": [("content-length ", "{n}")],
    "a folded line": [("x-a", "b\r\n content-length: {n}")],
    "a line that ends with LF alone": [("x-a", "b\ncontent-length: {n}")],
    "a line that ends with CR alone": [("x-a", "b\rcontent-length: {n}")],
    "NUL": [("x-a", "b\0c")],
    "a name of nothing": [("", "b")],
}


@pytest.mark.parametrize("headers", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_what_two_servers_could_read_differently_is_400_and_nothing_behind_it_is_read(
    receiver: Running, database: Database, headers: list[tuple[str, str]]
) -> None:
    hidden = post(receiver, {"content-length": str(len(BODY))}, BODY)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).format(n=len(hidden) + 5)
    start = post(receiver, {})[:-2] + lines.encode() + b"\r\n"
    assert await say(receiver, start + b"0\r\n\r\n" + hidden) == [400]
    assert await rows(database, evidence) == []
    assert turned_away(receiver) == {"malformed": 1}


CHUNKS = {
    "a size with a prefix": b"0x5\r\n",
    "a size below nought": b"-5\r\n",
    "a size beyond all bounds": b"f" * 20 + b"\r\n",
    "a size that ends with LF alone": b"5\nabcde\r\n0\r\n\r\n",
    "more than was said": b"1\r\nab\r\n0\r\n\r\n",
    "an extension that ends with LF alone": b"5;a=b\nabcde\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
async def test_chunks_that_are_none_are_400(receiver: Running, database: Database, chunks: bytes) -> None:
    assert await say(receiver, post(receiver, CHUNKED, chunks)) == [400]
    assert await rows(database, evidence) == []


NOT_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version to come": b"GET /healthz HTTP/1.2\r\n\r\n",
    "a tunnel": b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n",
    "a method nobody knows": b"FETCH /healthz HTTP/1.1\r\nhost: a\r\n\r\n",
    "a target that is no text": b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n",
    "nothing but noise": bytes(range(256)) * 100,
}


def unexpected(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged but for the delivery that was taken, whose line is heard if another test left logging set up."""
    return [message for record in caplog.records if (message := record.getMessage()) != "delivery"]


@pytest.mark.parametrize("words", NOT_HTTP.values(), ids=NOT_HTTP.keys())
async def test_what_is_not_for_us_is_400_and_no_line_in_the_log(
    receiver: Running, words: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert await say(receiver, words) == [400]
    assert (await ask("POST", receiver.hook(), BODY)).status == 200
    assert unexpected(caplog) == [], "whoever knocks must not fill the disk"
    assert capfd.readouterr().err == ""


async def test_a_request_before_garbage_is_still_answered_and_is_the_last(
    receiver: Running, database: Database
) -> None:
    good = post(receiver, {"content-length": str(len(BODY))}, BODY)
    assert await say(receiver, good + b"garbage\r\n\r\n" + good) == [200]
    assert len(await rows(database, evidence)) == 1


async def test_a_few_requests_at_once_are_answered_in_their_order(receiver: Running, database: Database) -> None:
    bodies = [event(f"wf-{n}", "failed") for n in range(10)]
    words = b"".join(post(receiver, {"content-length": str(len(body))}, body) for body in bodies)
    assert await say(receiver, words, answers=10) == [200] * 10
    assert await say(receiver, *(words[n : n + 100] for n in range(0, len(words), 100)), answers=10) == [200] * 10
    assert {bytes(row.body) for row in await rows(database, evidence)} == set(bodies)


async def test_a_thousand_requests_at_once_are_not_held(
    receiver: Running, database: Database, database_url: str
) -> None:
    async with blocked(database_url):
        saying = asyncio.create_task(say(receiver, b"GET /healthz HTTP/1.1\r\n\r\n" * 1000, then=0.2))
        await asyncio.sleep(0.1)
        assert all(len(one.pipeline) <= 16 for one in receiver.server.server_state.connections)  # type: ignore[union-attr]
        statuses = await saying
    assert len(statuses) <= 20
    assert turned_away(receiver)["pipelined"] == 1


async def test_wasteful_chunks_are_refused_long_before_they_make_a_body(receiving: Receiving) -> None:
    async with receiving() as running:
        # One byte at a time, and 60 000 bytes about one byte.
        for chunk in (b"1\r\nx\r\n", b"1;" + b"e" * 60_000 + b"\r\nx\r\n"):
            assert await say(running, post(running, CHUNKED), *[chunk * (60_000 // len(chunk) + 1)] * 10) == [400]
        endless = b"".join(b"x-%d: y\r\n" % n for n in range(5000))
        assert await say(running, post(running, CHUNKED, b"2\r\n{}\r\n0\r\n"), *[endless] * 10) == [400]
        assert turned_away(running) == {"padded": 3}


async def test_chunks_as_clients_send_them_are_fine(receiver: Running, database: Database) -> None:
    body = event("wf-1", "failed", prompt="x" * 200_000)
    for size in (500, 4096, 100_000):
        parts = [body[n : n + size] for n in range(0, len(body), size)]
        chunks = b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        assert await say(receiver, post(receiver, CHUNKED), chunks, answers=1) == [200]
    assert {bytes(row.body) for row in await rows(database, evidence)} == {body}


async def test_a_trailer_is_no_header(receiver: Running, database: Database) -> None:
    chunks = b"%x\r\n%s\r\n0\r\nuser-agent: forged\r\nx-forwarded-for: 203.0.113.1\r\n\r\n" % (len(BODY), BODY)
    words = post(receiver, {**CHUNKED, "content-type": "application/json"}, chunks)
    assert await say(receiver, words, answers=1) == [200]
    (kept,) = await rows(database, evidence)
    assert kept.headers == {"content-type": "application/json"}


async def test_old_clients_are_answered_and_their_connection_closed(receiver: Running) -> None:
    old = post(receiver, {"content-length": str(len(BODY))}, BODY).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    assert await say(receiver, old + old) == [200]
    assert await say(receiver, b"GET /healthz HTTP/1.0\r\n\r\n") == [200]


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_an_upgrade_is_not_taken_and_the_request_answered(
    receiver: Running, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"connection": "upgrade, http2-settings", "upgrade": protocol, "http2-settings": "AAMAAABk"}
    words = post(receiver, {**asked, "content-length": str(len(BODY))}, BODY)
    assert await say(receiver, words + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == [200]
    assert unexpected(caplog) == []


async def _asked_first(running: Running, method: str, url: str, length: int) -> tuple[bytes, Answer]:
    """Ask whether to send a body; send it when told to. Returns what was said first, and the answer."""
    reader, writer = await connect(running.url)
    writer.write(head(method, url, {"content-length": str(length), "expect": "100-continue"}))
    first = await asyncio.wait_for(reader.readline(), 3)
    if first == b"HTTP/1.1 100 Continue\r\n":
        assert await reader.readline() == b"\r\n"
        writer.write(BODY)
        answer = await read_answer(reader)
    else:
        rest = await reader.readuntil(b"\r\n\r\n")
        answer = Answer(int(first.split()[1]), {}, rest)
    writer.close()
    return first, answer


async def test_who_asks_first_is_told_to_send_only_what_will_be_read(receiver: Running) -> None:
    first, answer = await _asked_first(receiver, "POST", receiver.hook(), len(BODY))
    assert (first[9:12], answer.status) == (b"100", 200)
    for url, length, status in (
        (receiver.hook(), 2**21, b"413"),
        (f"{receiver.url}/hooks/nobody", len(BODY), b"404"),
        (f"{receiver.url}/v1/workflows", len(BODY), b"401"),
    ):
        first, _ = await _asked_first(receiver, "POST", url, length)
        assert first[9:12] == status


async def test_a_large_body_for_the_api_is_refused_before_it_is_read(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    writer.write(head("POST", f"{receiver.url}/v1/workflows", {"content-length": str(2**40)}))
    writer.write(b"x" * 100_000)
    answer = await asyncio.wait_for(read_answer(reader), 3)
    assert answer.status == 401  # nobody has said who they are; with a token it is 413 (test_api_workflows)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            writer.write(b"x" * 100_000)
            await writer.drain()
            await asyncio.sleep(0)
        assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()
    assert turned_away(receiver) == {"large rest": 1}


@pytest.mark.parametrize("count", [101, 5000])
async def test_too_many_headers_are_431(receiver: Running, count: int) -> None:
    many = {f"x-{n}": "y" for n in range(count)}
    assert await say(receiver, post(receiver, {**many, "content-length": "0"})) == [431]
    assert turned_away(receiver) == {"large head": 1}
