"""Fetching output files: what is followed, what is carried along, and what ends it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from errno import ENOSPC

import pytest

from receiver.addresses import ForbiddenAddress
from receiver.ledger.records import Trust
from receiver.providers.base import Account, UpstreamBusy
from reconciler.transport import MOST_HOPS, Downloads
from tests.reconciler.test_transport import raw_server
from tests.reconciler.world import Upstream, upstream_running


def downloads(base_url: str, **more: object) -> Downloads:
    return Downloads(Account("s", base_url, Trust.NONE, api_key="secret-key-0001"), **more)  # type: ignore[arg-type]


async def got(files: Downloads, url: str, seconds: float = 5, **headers: str) -> tuple[int, bytes]:
    async with files.get(url, headers, within=timedelta(seconds=seconds)) as stream:
        return stream.status, b"".join([chunk async for chunk in stream.chunks])


async def test_a_file_comes_as_it_lies_there_and_nothing_secret_goes_out(upstream: Upstream) -> None:
    upstream.answers["/x"] = (200, b"\x1f\x8b bytes", {"content-encoding": "gzip"})
    async with downloads(upstream.base_url) as files:
        assert await got(files, f"{upstream.base_url}/x") == (200, b"\x1f\x8b bytes")
    (seen,) = upstream.seen
    assert seen.headers["accept-encoding"] == "identity"
    assert {"authorization", "cookie"}.isdisjoint(seen.headers)


async def test_redirects_are_followed_and_cookies_are_not_kept(upstream: Upstream) -> None:
    async with upstream_running() as other, downloads(upstream.base_url) as files:
        upstream.answers["/a"] = (308, b"", {"location": "b?x=%2F", "set-cookie": "a=b; Path=/"})
        upstream.answers["/b"] = (302, b"", {"location": f"{other.base_url}/c"})
        other.answers["/c"] = (200, b"here")
        assert await got(files, f"{upstream.base_url}/a") == (200, b"here")
        assert [one.query for one in upstream.seen] == ["", "x=%2F"]
        assert all("cookie" not in one.headers for one in (*upstream.seen, *other.seen))


async def test_redirects_that_go_round_end(upstream: Upstream) -> None:
    upstream.answers["/a"] = (302, b"", {"location": "/a"})
    async with downloads(upstream.base_url) as files:
        with pytest.raises(UpstreamBusy, match="redirected more than"):
            await got(files, f"{upstream.base_url}/a")
    assert len(upstream.seen) == MOST_HOPS + 1


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/", "https://10.0.0.7/", "http://example.com/x", "file:///etc/passwd",
        "https://user:password@example.com/", "https://2130706433/", "//[::ffff:10.0.0.7]/", "https://[::1",
        "gopher://127.0.0.1/", "\\\\\\\\10.0.0.7\\\\x", "https://127\u30020\u30020.1/", "http://10.0.0.7:80/",
    ],
)  # fmt: skip
async def test_where_a_redirect_leads_is_vetted_as_the_first_url_is(upstream: Upstream, location: str) -> None:
    upstream.answers["/a"] = (302, b"", {"location": location.encode("utf-8").decode("latin-1")})
    async with downloads(upstream.base_url) as files:
        with pytest.raises(ForbiddenAddress):
            await got(files, f"{upstream.base_url}/a")
    assert len(upstream.seen) == 1


async def test_a_redirect_to_nowhere_is_the_answer(upstream: Upstream) -> None:
    upstream.answers["/a"] = (302, b"no location")
    async with downloads(upstream.base_url) as files:
        assert await got(files, f"{upstream.base_url}/a") == (302, b"no location")


async def test_a_file_that_trickles_is_bounded_in_time() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_server(trickle) as url, downloads(url) as files:
        with pytest.raises(UpstreamBusy, match="not whole within"):
            await got(files, f"{url}/x", 0.3)


async def test_a_file_that_breaks_off_is_no_file() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()

    async with raw_server(half) as url, downloads(url) as files:
        with pytest.raises(UpstreamBusy, match="no answer"):
            await got(files, f"{url}/x?token=secret")


async def test_what_goes_wrong_here_is_not_called_upstreams_fault(upstream: Upstream) -> None:
    upstream.answers["/x"] = (200, b"bytes")
    async with downloads(upstream.base_url) as files:
        with pytest.raises(OSError, match="No space left"):
            async with files.get(f"{upstream.base_url}/x", {}, within=timedelta(seconds=5)):
                raise OSError(ENOSPC, "No space left on device")


async def test_headers_without_end_are_no_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 100))
            await writer.drain()

    async with raw_server(talk) as url, downloads(url) as files:
        with pytest.raises(UpstreamBusy):
            await got(files, f"{url}/x")
