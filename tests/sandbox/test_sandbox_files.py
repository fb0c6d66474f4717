"""Files as a CDN serves them: in parts, with validators, slowly and badly when asked to."""

from __future__ import annotations

import time

import aiohttp
import pytest

from receiver.sandbox.civitai import RunningCivitai, running_civitai
from receiver.sandbox.filing import padded
from receiver.sandbox.media import content
from tests.sandbox.sandbox_client import Caller, image

SIZE = 200_000


async def made(session: aiohttp.ClientSession, upstream: RunningCivitai) -> tuple[str, bytes]:
    """One output: its URL, and its bytes."""
    body = await Caller(session, upstream).finished(image())
    blob = body["steps"][0]["output"]["images"][0]
    return blob["url"], padded(content(blob["id"]), blob["id"], SIZE)


async def got(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    asked = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.get(url, headers=asked) as answer:
        return answer.status, await answer.read(), {name.lower(): value for name, value in answer.headers.items()}


async def test_a_part_is_had_while_the_file_is_the_same(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, file_size=SIZE) as upstream:
        url, data = await made(session, upstream)
        status, whole, headers = await got(session, url)
        assert (status, whole, headers["accept-ranges"]) == (200, data, "bytes")
        etag = headers["etag"]
        status, part, headers = await got(session, url, range="bytes=1000-", if_range=etag)
        assert (status, part, headers["content-range"]) == (206, data[1000:], f"bytes 1000-{SIZE - 1}/{SIZE}")
        assert (await got(session, url, range="bytes=5-9"))[1] == data[5:10]
        assert (await got(session, url, range="bytes=1000-", if_range='"other"'))[:2] == (200, data)
        assert (await got(session, url, range=f"bytes={SIZE}-"))[0] == 416
        assert (await got(session, url, range="bytes=x-"))[0] == 200


async def test_who_knows_no_parts_sends_the_whole(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, file_size=SIZE, file_ranges=False) as upstream:
        url, data = await made(session, upstream)
        status, whole, headers = await got(session, url, range="bytes=1000-")
        assert (status, whole) == (200, data)
        assert "accept-ranges" not in headers


async def test_a_file_breaks_off_as_often_as_it_is_told_to(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, file_size=SIZE, file_broken=1) as upstream:
        url, data = await made(session, upstream)
        with pytest.raises(aiohttp.ClientPayloadError):
            await got(session, url)
        assert (await got(session, url))[1] == data


async def test_a_file_comes_as_slowly_as_it_is_told_to(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, file_size=SIZE, file_rate=400_000) as upstream:
        url, data = await made(session, upstream)
        began = time.monotonic()
        assert (await got(session, url))[1] == data
        assert time.monotonic() - began > SIZE / 400_000 - 0.05  # a floor, which no load can break
