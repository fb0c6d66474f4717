"""Unpacking answers: whatever a server does, no more comes out than is wanted."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.base import Unreadable
from reconciler.decoding import Unpacker
from tests.reconciler.test_transport import get, transport
from tests.reconciler.world import Upstream


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "DEFLATE": bare, "": bytes}


def unpacked(coding: str | None, packed: bytes, largest: int = 10**6, step: int = 7) -> bytes:
    unpacker = Unpacker(coding, largest)
    found = b"".join(unpacker.feed(packed[at : at + step]) for at in range(0, len(packed), step))
    unpacker.finish()
    return found


@given(data=st.binary(max_size=500), coding=st.sampled_from(sorted(PACKERS)), step=st.integers(1, 600))
def test_what_was_packed_comes_out_however_it_is_cut(data: bytes, coding: str, step: int) -> None:
    assert unpacked(coding, PACKERS[coding](data), step=step) == data


@given(data=st.binary(max_size=300), coding=st.sampled_from(["gzip", "deflate"]), step=st.integers(1, 300))
def test_what_was_not_packed_is_unreadable_or_something_small(data: bytes, coding: str, step: int) -> None:
    with suppress(Unreadable):
        assert len(unpacked(coding, data, 1000, step)) <= 1000


def test_members_that_follow_one_another_are_all_unpacked() -> None:
    assert unpacked("gzip", gzip.compress(b"one") + gzip.compress(b"two")) == b"onetwo"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_ends_in_the_middle_is_unreadable(coding: str) -> None:
    with pytest.raises(Unreadable, match="middle"):
        unpacked(coding, PACKERS[coding](b"some bytes, at length")[:-6])


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "gzip,br", "x" * 1000])
async def test_a_coding_nobody_asked_for_is_unreadable(upstream: Upstream, coding: str) -> None:
    upstream.answers["/x"] = (200, b"\x00" * 100, {"content-encoding": coding})
    async with transport(upstream.base_url) as client:
        with pytest.raises(Unreadable, match="nobody asked for"):
            await client.send(get(f"{upstream.base_url}/x"))
    assert upstream.seen[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_takes_no_more_memory_than_the_largest_answer(upstream: Upstream, coding: str) -> None:
    bomb = PACKERS[coding](b"\0" * 200_000_000)
    upstream.answers["/x"] = (200, bomb, {"content-encoding": coding})
    async with transport(upstream.base_url, largest=1_000_000) as client:
        tracemalloc.start()
        try:
            with pytest.raises(Unreadable, match="more than 1000000 bytes"):
                await client.send(get(f"{upstream.base_url}/x"))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 10_000_000
