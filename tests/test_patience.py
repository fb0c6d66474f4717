"""Many deadlines on one timer: each ends in its time, in whatever order they were set."""

from __future__ import annotations

import asyncio

import pytest

from receiver.patience import Patience


class Late(Exception):
    """The time was up."""


async def test_a_short_wait_that_was_set_after_a_long_one_does_not_last_as_long() -> None:
    loop = asyncio.get_running_loop()
    patience = Patience(Late)
    waits = [loop.create_future() for _ in range(4)]
    for wait, seconds in zip(waits, (3600, 0.1, 3600, 0.0), strict=True):
        patience.watch(wait, loop.time() + seconds)
    for wait in (waits[3], waits[1]):
        with pytest.raises(Late):
            await asyncio.wait_for(wait, 60)
    assert not waits[0].done()
    assert not waits[2].done()
    for wait in waits:
        wait.cancel()
