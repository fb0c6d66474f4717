"""The one HTTP client: where it goes, what it brings back, what it refuses."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver.addresses import ForbiddenAddress, reach_of, vet
from receiver.ledger.records import Trust
from receiver.providers.base import Account, Request, Unreadable, UpstreamBusy
from reconciler.transport import ElsewhereRefused, Transport, VettingResolver
from tests.reconciler.world import Upstream, upstream_running


def transport(base_url: str, *, item: float = 5, **more: Any) -> Transport:
    account = Account("s", base_url, Trust.NONE)
    return Transport(account, clock=lambda: datetime.now(UTC), item=timedelta(seconds=item), **more)


def get(url: str) -> Request:
    return Request("GET", url, {"authorization": "Bearer secret-key"})


async def test_an_answer_comes_back_whole_with_its_clocks(upstream: Upstream) -> None:
    upstream.answers["/x"] = (202, {"a": 1}, {"X-Request-Id": "r"})
    upstream.skew = timedelta(hours=-1)
    before = datetime.now(UTC)
    async with transport(upstream.base_url) as client:
        answer = await client.send(get(f"{upstream.base_url}/x?q=1"))
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (202, b'{"a": 1}', "r")
    assert before <= answer.sent_at <= answer.received_at <= datetime.now(UTC)
    assert answer.date is not None
    assert timedelta(minutes=59) < answer.sent_at - answer.date < timedelta(minutes=61)
    (seen,) = upstream.seen
    assert seen.headers["authorization"] == "Bearer secret-key"
    assert seen.headers["user-agent"].startswith("hookledger/")


async def test_credentials_never_go_to_another_origin(upstream: Upstream) -> None:
    async with upstream_running() as other, transport(upstream.base_url) as client:
        same_machine = upstream.base_url.replace("127.0.0.1", "localhost")
        for url in (f"{other.base_url}/x", f"{same_machine}/x", "ftp://x/", "/x"):
            with pytest.raises(ElsewhereRefused):
                await client.send(get(url))
        assert (other.seen, upstream.seen) == ([], [])


async def test_redirects_are_answers_and_not_followed(upstream: Upstream) -> None:
    async with upstream_running() as other, transport(upstream.base_url) as client:
        upstream.answers["/x"] = (308, b"", {"location": f"{other.base_url}/content"})
        answer = await client.send(get(f"{upstream.base_url}/x"))
        assert answer.status == 308
        assert answer.headers["location"] == f"{other.base_url}/content"
        assert (len(upstream.seen), other.seen) == (1, [])


async def test_cookies_are_not_remembered(upstream: Upstream) -> None:
    upstream.answers["/x"] = (200, {}, {"set-cookie": "a=b"})
    async with transport(upstream.base_url) as client:
        for _ in range(2):
            await client.send(get(f"{upstream.base_url}/x"))
    assert "cookie" not in upstream.seen[1].headers


async def test_an_answer_that_is_too_large_is_cut_off(upstream: Upstream) -> None:
    upstream.answers["/x"] = (200, b"x" * 5000)
    async with transport(upstream.base_url, largest=4999) as client:
        with pytest.raises(Unreadable, match="more than 4999 bytes"):
            await client.send(get(f"{upstream.base_url}/x"))
    async with transport(upstream.base_url, largest=5000) as client:
        assert len((await client.send(get(f"{upstream.base_url}/x"))).body) == 5000


async def test_a_small_answer_that_unpacks_to_a_huge_one_is_cut_off(upstream: Upstream) -> None:
    upstream.answers["/x"] = (200, gzip.compress(b"x" * 50_000_000), {"content-encoding": "gzip"})
    async with transport(upstream.base_url, largest=1_000_000) as client:
        with pytest.raises(Unreadable):
            await client.send(get(f"{upstream.base_url}/x"))


async def test_an_answer_that_takes_too_long_is_no_answer(upstream: Upstream) -> None:
    upstream.pause = 5
    async with transport(upstream.base_url, item=0.2) as client:
        with pytest.raises(UpstreamBusy, match=r"no answer within 0\.2 s"):
            await client.send(get(f"{upstream.base_url}/x"))


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(talk: Talk) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def test_a_body_that_trickles_is_bounded_in_time() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_server(trickle) as url, transport(url, item=0.3) as client:
        with pytest.raises(UpstreamBusy, match="no answer within"):
            await client.send(get(f"{url}/x"))


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"SSH-2.0-OpenSSH_9\r\n\r\n"]
)
async def test_a_connection_that_breaks_is_no_answer_and_the_message_names_no_url(said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with raw_server(talk) as url, transport(url) as client:
        with pytest.raises(UpstreamBusy) as caught:
            await client.send(get(f"{url}/x?token=secret"))
    assert "secret" not in str(caught.value)


async def test_nobody_listening_is_no_answer() -> None:
    async with transport("http://127.0.0.1:9") as client:
        with pytest.raises(UpstreamBusy, match="no answer"):
            await client.send(get("http://127.0.0.1:9/x"))


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.1", "169.254.169.254", "127.0.0.1", "::1", "fe80::1%eth0",
                                     "::ffff:10.0.0.7", "0.0.0.0", "100.64.0.1", "fd00::1", "224.0.0.1"])  # fmt: skip
def test_an_upstream_on_the_internet_may_not_be_at_a_private_address(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        vet("api.example.com", address, reach_of("api.example.com", allow_private=False))
    vet("api.example.com", address, reach_of("api.example.com", allow_private=True))


def test_public_addresses_are_permitted() -> None:
    for address in ("93.184.215.14", "2606:4700::6810:84e5"):
        vet("api.example.com", address, "public")


def test_an_upstream_on_this_machine_may_be_nowhere_else() -> None:
    vet("localhost", "127.0.0.1", reach_of("localhost", allow_private=False))
    with pytest.raises(ForbiddenAddress):
        vet("localhost", "10.0.0.7", reach_of("localhost", allow_private=False))


async def test_what_a_name_resolves_to_is_vetted_before_anything_is_sent() -> None:
    resolver = VettingResolver("public")
    with pytest.raises(ForbiddenAddress, match="allow_private"):
        await resolver.resolve("localhost", 80)
    # A literal address never meets the resolver.
    async with transport("http://10.255.255.1:81", item=1) as client:
        with pytest.raises(UpstreamBusy, match="not on the public internet"):
            await client.send(get("http://10.255.255.1:81/x"))


async def test_ids_go_out_as_the_provider_wrote_them(upstream: Upstream) -> None:
    async with transport(upstream.base_url) as client:
        await client.send(get(f"{upstream.base_url}/a%2Fb%24%3F/c"))
    (seen,) = upstream.seen
    assert seen.path == "/a%2Fb%24%3F/c"
    assert seen.query == ""
