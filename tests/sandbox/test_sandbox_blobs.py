"""Blobs: URLs that end, 308, refresh, and what is blocked or gone."""

from __future__ import annotations

import asyncio
import struct
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from sandbox_client import BLOBS, WORKFLOWS, Caller, image

from receiver.sandbox.civitai import running_civitai
from receiver.sandbox.media import content


async def made(api: Caller, **script: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A finished workflow and its only image."""
    body = await api.finished(image(nsfwLevel="pg") if not script else image(**{"nsfwLevel": "pg", **script}))
    return body, body["steps"][0]["output"]["images"][0]


async def test_a_signed_url_gives_real_bytes_to_anyone_and_403_after_its_time(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, url_ttl=3) as upstream:
        api = Caller(session, upstream)
        _, blob = await made(api)
        fresh = await api.call("GET", blob["url"], key=False)
        assert (fresh.status, fresh.headers["content-type"]) == (200, f"image/{blob['id'].rpartition('.')[2]}")
        assert blob["id"].encode() in fresh.body
        until = datetime.fromisoformat(blob["urlExpiresAt"])
        left = until - datetime.now(UTC)
        assert left < timedelta(seconds=3)
        assert f"exp={until:%Y-%m-%dT%H:%M:%S}" in blob["url"]
        await asyncio.sleep(max(left.total_seconds(), 0) + 0.05)
        assert (await api.call("GET", blob["url"], key=False)).status == 403
        assert (await api.call("GET", blob["url"])).status == 403


async def test_a_signature_opens_no_other_blob_and_no_other_time(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        (_, one), (_, two) = await made(api), await made(api)
        stolen = one["url"].replace(one["id"], two["id"])
        later = one["url"].replace("exp=20", "exp=21")
        assert [(await api.call("GET", url, key=False)).status for url in (stolen, later)] == [403, 403]
        assert (await api.call("GET", one["url"].partition("&exp=")[0], key=False)).status == 403


async def test_getworkflow_signs_a_new_url_every_time(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, url_ttl=2) as upstream:
        api = Caller(session, upstream)
        body, blob = await made(api)
        await asyncio.sleep(2.05)
        again = (await api.get(f"{WORKFLOWS}/{body['id']}")).json["steps"][0]["output"]["images"][0]
        assert (again["id"], again["url"] != blob["url"]) == (blob["id"], True)
        assert (await api.call("GET", again["url"], key=False)).status == 200


async def test_a_refresh_gives_a_fresh_url_and_restarts_the_30_days(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, url_ttl=2) as upstream:
        api = Caller(session, upstream)
        _, blob = await made(api)
        upstream.advance(20 * 86400)
        answer = await api.call("POST", f"{BLOBS}/{blob['id']}/refresh")
        assert (answer.status, answer.json["id"], answer.json["available"]) == (200, blob["id"], True)
        assert (await api.call("GET", answer.json["url"], key=False)).status == 200
        upstream.advance(20 * 86400)
        assert (await api.call("POST", f"{BLOBS}/{blob['id']}/refresh")).status == 200
        assert upstream.truth()["workflows"][0]["blobs"][0]["refreshes"] == 2
        assert (await api.call("POST", f"{BLOBS}/{blob['id']}/refresh", key=False)).status == 401


async def test_getblob_redirects_with_308_to_a_content_url_that_needs_no_key(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        _, blob = await made(api)
        answer = await api.get(f"{BLOBS}/{blob['id']}")
        assert (answer.status, answer.body) == (308, b"")
        assert f"{BLOBS}/content/" in answer.headers["location"]
        assert (await api.call("GET", answer.headers["location"], key=False)).body == content(blob["id"])
        upstream.advance(400)
        assert (await api.call("GET", answer.headers["location"], key=False)).status == 403


async def test_getblobs_content_can_be_on_another_host_and_leaked_keys_are_seen(
    session: aiohttp.ClientSession,
) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        upstream.set_faults(content_base=upstream.base_url.replace("127.0.0.1", "localhost"))
        _, blob = await made(api)
        location = (await api.get(f"{BLOBS}/{blob['id']}")).headers["location"]
        assert location.startswith("http://localhost:")
        await api.call("GET", location, key=False)
        await api.call("GET", location)
        seen = [x["authorized"] for x in upstream.log()["requests"] if "/content/" in x["path"]]
        assert seen == [False, True]


async def test_headblob_says_204_with_the_nsfw_level(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        _, blob = await made(api, nsfwLevel="r")
        answer = await api.call("HEAD", f"{BLOBS}/{blob['id']}")
        assert (answer.status, answer.headers["x-nsfw-level"]) == (204, "r")
        assert (await api.call("HEAD", f"{BLOBS}/none.png")).status == 404


async def test_a_blocked_blob_has_no_url_and_says_why(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, blocked_blobs=1) as upstream:
        api = Caller(session, upstream)
        _, blob = await made(api)
        assert (blob["available"], blob["url"], bool(blob["blockedReason"])) == (False, None, True)
        assert (await api.get(f"{BLOBS}/{blob['id']}")).status == 403
        assert (await api.call("POST", f"{BLOBS}/{blob['id']}/refresh")).json["url"] is None


async def test_mature_output_is_withheld_until_it_is_allowed(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        body = await api.finished(image(nsfwLevel="xxx"), allowMatureContent=False)
        assert body["steps"][0]["output"]["images"][0]["available"] is False
        path = f"{WORKFLOWS}/{body['id']}"
        assert (await api.call("PUT", path, body={"allowMatureContent": True})).status == 204
        assert (await api.get(path)).json["steps"][0]["output"]["images"][0]["url"]


@pytest.mark.parametrize("way", ["time", "purge"])
async def test_a_blob_that_is_gone_is_404_everywhere(session: aiohttp.ClientSession, way: str) -> None:
    async with running_civitai(speed=500, retention=1e9, url_ttl=1e9) as upstream:
        api = Caller(session, upstream)
        body, blob = await made(api)
        if way == "time":
            upstream.advance(31 * 86400)
        else:
            assert (await api.call("POST", "/_sandbox/purge", body={"blob": blob["id"]})).status == 200
        path = f"{BLOBS}/{blob['id']}"
        calls = [api.get(path), api.call("POST", f"{path}/refresh"), api.call("GET", blob["url"], key=False)]
        assert [answer.status for answer in await asyncio.gather(*calls)] == [404, 404, 404]
        shown = (await api.get(f"{WORKFLOWS}/{body['id']}")).json["steps"][0]["output"]["images"][0]
        assert (shown["available"], shown["url"]) == (False, None)
        assert upstream.truth()["workflows"][0]["blobs"][0]["gone"] is True


async def test_a_workflow_is_forgotten_30_days_after_its_end(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        body, _ = await made(api)
        upstream.advance(29 * 86400)
        assert (await api.get(f"{WORKFLOWS}/{body['id']}")).status == 200
        upstream.advance(2 * 86400)
        assert (await api.get(f"{WORKFLOWS}/{body['id']}")).status == 404


def test_the_bytes_of_a_png_are_a_valid_png_that_names_its_blob() -> None:
    data, at, kinds = content("A.png"), 8, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack_from(">I", data, at + 8 + size)[0]
        kinds.append(kind)
        at += size + 12
    assert kinds == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
    assert content("B.png") != data
