"""What moves every stand-in: one clock, one scheduler, one post office for callbacks, and the logs of both sides."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from receiver.sandbox.clock import Clock, stamp
from receiver.sandbox.deliveries import Dispatcher, Post
from receiver.sandbox.faults import BadKnob, seeded
from receiver.sandbox.media import UrlSigner
from receiver.sandbox.upstream_faults import UpstreamFaults

LOG_LIMIT = 100_000
BATCH = 200
FIXED = frozenset({"seed", "concurrency", "clock_skew"})


class Moving(Protocol):
    """A world that changes when its time comes."""

    open: int

    def next_at(self) -> datetime | None:
        """When the next change is due; None when nothing is."""

    def advance(self, now: datetime, limit: int | None = None) -> int:
        """Apply what is due, at most `limit` changes; how many were."""


class Engine(abc.ABC):
    """Start it inside the loop that serves it; `stop` ends every task it began. A subclass sets `world`."""

    world: Moving

    def __init__(self, faults: UpstreamFaults) -> None:
        self.faults = faults
        self.base_url = ""
        self.clock = Clock(faults.clock_skew)
        self.signer = UrlSigner(f"sandbox-{faults.seed}".encode())
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LIMIT)
        self.callbacks: deque[dict[str, Any]] = deque(maxlen=LOG_LIMIT)
        self.rngs = {name: seeded(faults.seed, name) for name in ("read", "submit", "forge", "forge_ending", "files")}
        self._dispatcher = Dispatcher(faults, self.record_callback, self.outage_left)
        self.post = Post(faults, self._dispatcher)
        self._wake = asyncio.Event()
        self._scheduler: asyncio.Task[None] | None = None
        self._outage_began = self.clock.now()
        self.closing = False

    def public_url(self) -> str:
        """What output URLs begin with."""
        return (self.faults.public_url or self.base_url).rstrip("/")

    async def start(self) -> None:
        """Begin to move time and to send callbacks."""
        await self._dispatcher.start()
        self._scheduler = asyncio.create_task(self._run())

    def end_waits(self) -> None:
        """Whoever waits inside a request is answered at once, with what is known."""
        self.closing = True

    async def stop(self) -> None:
        """End every wait, task and connection."""
        self.end_waits()
        if self._scheduler is not None:
            self._scheduler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._scheduler
        self.post.stop()
        await self._dispatcher.stop()

    def set_faults(self, values: Mapping[str, object]) -> None:
        """Change knobs at run time; BadKnob when one is wrong. An outage counts from now."""
        for name in FIXED & set(values):
            raise BadKnob(name, "can be set at the start only")
        self.faults.update(values)
        if "outage" in values:
            self._outage_began = self.clock.now()
        self._wake.set()

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self.clock.advance(seconds)
        self.catch_up()

    def catch_up(self) -> None:
        """Apply all that is due, so that an answer never shows a world older than its `Date`."""
        self.world.advance(self.clock.now())
        self._wake.set()

    def outage_left(self) -> float:
        """Seconds until the outage ends; 0 when there is none now."""
        outage = self.faults.outage
        if outage is None:
            return 0.0
        since = (self.clock.now() - self._outage_began).total_seconds()
        return outage.start + outage.duration - since if outage.covers(since) else 0.0

    # What the control surface shows and does

    @abc.abstractmethod
    def truths(self) -> list[dict[str, Any]]:
        """Every workflow as it really is, oldest first."""

    @abc.abstractmethod
    def finish(self, workflow_id: str, status: str = "succeeded", reason: str | None = None) -> None:
        """End it now, whatever its plan was. KeyError when unknown; ValueError says which status words there are."""

    @abc.abstractmethod
    def purge(self, wanted: Mapping[str, Any]) -> None:
        """Upstream forgets `{"workflow": id}` or `{"blob": id}`, without a word. KeyError when there is none."""

    @abc.abstractmethod
    def example(self) -> str:
        """A curl command that submits."""

    def truth(self) -> dict[str, Any]:
        """`{"now", "settled", "workflows": […]}`, oldest first."""
        self.catch_up()
        shown = self.truths()
        return {"now": stamp(self.clock.now()), "settled": self.world.open == 0, "workflows": shown}

    def log(self) -> dict[str, Any]:
        """`{"requests": […], "callbacks": […]}`, oldest first, the newest 100 000 of each."""
        return {"requests": list(self.requests), "callbacks": list(self.callbacks)}

    def quiet(self) -> dict[str, Any]:
        """`{"quiet", "open", "pending_callbacks"}`."""
        self.catch_up()
        pending = self.post.pending
        return {"quiet": self.world.open == 0 and pending == 0, "open": self.world.open, "pending_callbacks": pending}

    def record_callback(self, line: dict[str, Any]) -> None:
        """Keep one line of the dispatcher's log."""
        self.callbacks.append({"time": stamp(self.clock.now()), **line})

    async def _run(self) -> None:
        while True:
            applied = self.world.advance(self.clock.now(), BATCH)
            if applied == BATCH:
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            next_at = self.world.next_at()
            wait = None if next_at is None else max((next_at - self.clock.now()).total_seconds(), 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
