"""Waiting for something to become true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


async def until(true: Callable[[], Any], seconds: float = 10, every: float = 0.01) -> None:
    """Return once it is true, TimeoutError if it does not become so; `true` may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(every)
