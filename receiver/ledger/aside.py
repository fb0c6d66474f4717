"""Work that would hold the event loop up for too long is done in a thread, while its batch waits.

Only what no other task can touch meanwhile may be done so: what a batch has gathered, and the connection it writes by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

# Steps, jobs and files. One costs 25 µs on PostgreSQL and up to 60 on SQLite, from its row to its row; a callback may
# take 50 ms.
HEAVY = 500

P = ParamSpec("P")
T = TypeVar("T")


async def aside(weight: int, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Do some work on that many steps, jobs and files: here, or in a thread when these are more than HEAVY.

    Whoever is cancelled meanwhile waits until the thread is done: nothing goes on behind a transaction's back.
    """
    if weight <= HEAVY:
        return work(*args, **more)
    thread = asyncio.ensure_future(asyncio.to_thread(work, *args, **more))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait({thread})
        raise
