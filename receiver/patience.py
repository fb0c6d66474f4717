"""How long one waits for another: many deadlines, one timer. A timer for each would cost as much as a statement."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any

LOOK_EVERY = 0.05  # seconds between two looks at who has waited too long


class Patience:
    """Ends the wait of whoever has waited too long, with the error that `told` makes. Belongs to one event loop."""

    def __init__(self, told: Callable[[], Exception]) -> None:
        self._told = told
        self._waits: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, answer: asyncio.Future[Any], ends: float) -> None:
        """End a wait at an instant of the loop's clock, or up to LOOK_EVERY later."""
        if self._waits and ends < self._waits[-1][0]:  # seldom: one that was read aside, say, had begun before others
            insort(self._waits, (ends, answer), key=itemgetter(0))
        else:
            self._waits.append((ends, answer))
        if self._timer is None:
            self._timer = answer.get_loop().call_later(LOOK_EVERY, self._look, answer.get_loop())

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now, waits = loop.time(), self._waits
        while waits and (waits[0][1].done() or waits[0][0] <= now):
            answer = waits.popleft()[1]
            if not answer.done():
                answer.set_exception(self._told())
        self._timer = loop.call_later(LOOK_EVERY, self._look, loop) if waits else None
