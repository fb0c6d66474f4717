"""Callbacks over HTTP as an upstream sends them: serialized in lanes, tried again, and harmed on demand.

A *lane* is what is delivered in order and one at a time (for Civitai: a workflow). A lane has a task only while it has
something to send. A failing try holds up everything behind it in its lane (head-of-line blocking), and nothing else.

Each try, and each callback that never got one, is one line of the log:
`{"time", "lane", "event": {...}, "attempt", "outcome", "status", "error", "ms", "url", "copy", "forged", "reordered"}`.
`outcome`: `delivered` · `retrying` (failed, another try follows) · `exhausted` (the last try failed) · `refused` (an
answer that is not retried) · `dropped` (by the fault) · `stopped` (its lane ended after an exhaustion). `url` has no
query.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp

from receiver.sandbox.faults import DeliveryFaults, seeded

RETRIED = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Envelope:
    """One callback to send: `body` is posted to `url` as it is; `event` is what the log says about it.

    `sign` makes the headers that depend on the moment of each try. `once`: never tried again. `delay` holds up its
    lane, in real seconds. `number` counts workflows in the order of submission, 1 for the first."""

    lane: str
    url: str
    body: bytes
    event: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    sign: Callable[[], dict[str, str]] | None = None
    once: bool = False
    delay: float = 0.0
    copy: bool = False
    forged: str | None = None
    reordered: bool = False
    number: int = 0


def with_token(url: str, token: str | None) -> str:
    """`url` with its `token` replaced, or removed when None."""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "token"]
    if token is not None:
        query.append(("token", token))
    return urlunsplit(parts._replace(query=urlencode(query)))


class Dispatcher:
    """Sends envelopes, one lane in order. `record` gets each log line, `outage_left` the seconds to hold everything."""

    def __init__(
        self,
        faults: DeliveryFaults,
        record: Callable[[dict[str, Any]], None],
        outage_left: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._faults = faults
        self._record = record
        self._outage_left = outage_left
        self._lanes: dict[str, deque[Envelope]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(faults.concurrency)
        self._rng = seeded(faults.seed, "backoff")
        self._unsent = 0

    @property
    def pending(self) -> int:
        """Callbacks not yet delivered, dropped or given up."""
        return self._unsent

    async def start(self) -> None:
        """Open the client; to be called inside the loop that will send."""
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def stop(self) -> None:
        """Give up what is unsent and close every connection."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def send(self, envelope: Envelope) -> None:
        """Queue at the end of its lane; returns at once."""
        self._unsent += 1
        self._lanes.setdefault(envelope.lane, deque()).append(envelope)
        if envelope.lane not in self._tasks:
            self._tasks[envelope.lane] = asyncio.create_task(self._run(envelope.lane))

    async def _run(self, lane: str) -> None:
        queue = self._lanes[lane]
        try:
            while queue:
                envelope = queue[0]
                if lane in self._stopped:
                    self._note(envelope, 0, "stopped")
                elif not await self._deliver(envelope) and self._faults.on_exhaustion == "stop":
                    self._stopped.add(lane)
                queue.popleft()
                self._unsent -= 1
        finally:
            self._unsent -= len(queue)
            del self._lanes[lane], self._tasks[lane]

    async def _deliver(self, envelope: Envelope) -> bool:
        """All tries of one callback. False when the last one failed too."""
        faults = self._faults
        if envelope.delay:
            await asyncio.sleep(envelope.delay)
        ends = time.monotonic() + self._total_seconds()
        tries = 1 if envelope.forged or envelope.once else faults.tries()
        for attempt in range(1, tries + 1):
            while (held := self._outage_left()) > 0:
                await asyncio.sleep(min(held, 0.2))
                ends = time.monotonic() + self._total_seconds()
            left = ends - time.monotonic()
            limit = min(max(faults.callback_timeout / faults.speed, faults.callback_floor), max(left, 0.05))
            async with self._slots:
                began = time.monotonic()
                status, error = await self._try(envelope, limit)
            spent = round((time.monotonic() - began) * 1000, 1)
            if status is not None and 200 <= status < 300:
                self._note(envelope, attempt, "delivered", status, error, spent)
                return True
            if not self._is_retried(status):
                self._note(envelope, attempt, "refused", status, error, spent)
                return True
            pause = faults.pause_after(attempt, self._rng.random())
            if attempt == tries or time.monotonic() + pause >= ends:
                self._note(envelope, attempt, "exhausted", status, error, spent)
                return False
            self._note(envelope, attempt, "retrying", status, error, spent)
            await asyncio.sleep(pause)
        return False

    def _total_seconds(self) -> float:
        """For all tries of one callback; the floor leaves room for three tries that time out."""
        return max(self._faults.callback_total / self._faults.speed, 3 * self._faults.callback_floor)

    def _is_retried(self, status: int | None) -> bool:
        """Network errors, 5xx, 408 and 429 always are; all other answers that are not 2xx where upstream says so."""
        return status is None or status >= 500 or status in RETRIED or self._faults.callback_retry_4xx

    async def _try(self, envelope: Envelope, limit: float) -> tuple[int | None, str | None]:
        assert self._session is not None, "start the dispatcher before sending"
        headers = {"Content-Type": "application/json", **envelope.headers, **(envelope.sign() if envelope.sign else {})}
        timeout = aiohttp.ClientTimeout(total=limit)
        try:
            async with self._session.post(
                envelope.url, data=envelope.body, headers=headers, allow_redirects=False, timeout=timeout
            ) as answer:
                await answer.content.read(65536)
                return answer.status, None
        except TimeoutError:
            return None, f"no answer within {limit:.2g} s"
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return None, type(problem).__name__

    def _note(
        self,
        envelope: Envelope,
        attempt: int,
        outcome: str,
        status: int | None = None,
        error: str | None = None,
        spent: float = 0.0,
    ) -> None:
        line = {"lane": envelope.lane, "event": envelope.event, "attempt": attempt, "outcome": outcome}
        line |= {"status": status, "error": error, "ms": spent, "url": envelope.url.partition("?")[0]}
        line |= {"copy": envelope.copy, "forged": envelope.forged, "reordered": envelope.reordered}
        self._record(line)

    def note_dropped(self, envelope: Envelope) -> None:
        """A callback the fault swallowed before any try."""
        self._note(envelope, 0, "dropped")


class Post:
    """Applies the delivery faults to what an upstream wants to send, then hands it to the dispatcher."""

    def __init__(self, faults: DeliveryFaults, dispatcher: Dispatcher) -> None:
        self._faults = faults
        self._dispatcher = dispatcher
        self._held: dict[str, list[Envelope]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._strays = 0
        self._told: dict[str, int] = {}

    @property
    def pending(self) -> int:
        """Callbacks not yet delivered, dropped or given up, those held back included."""
        return self._dispatcher.pending + sum(map(len, self._held.values()))

    def stop(self) -> None:
        """Forget what is held back."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._held.clear()

    def post(self, envelope: Envelope) -> None:
        """Send, drop, double, delay or reorder one callback, as the faults say. What a share decides follows from the
        seed, the number of its workflow and its place among that workflow's callbacks: not from what other workflows
        do meanwhile, so that the same ones are lost each time."""
        faults = self._faults
        place = self._told[envelope.lane] = self._told.get(envelope.lane, 0) + 1

        def draws(fault: str) -> random.Random:
            return seeded(faults.seed, fault, envelope.number, place)

        if faults.drop.hit(draws("drop")):
            self._dispatcher.note_dropped(envelope)
            return
        if faults.delay.hit(draws("delay")):
            envelope = dataclasses.replace(envelope, delay=envelope.delay + faults.delay_seconds / faults.speed)
        twice = faults.duplicate.hit(draws("duplicate"))
        if faults.reorder.hit(draws("reorder")):
            self._hold(dataclasses.replace(envelope, reordered=True))
        else:
            self._dispatcher.send(envelope)
            self._release(envelope.lane)
        if twice:
            self._send_copy(envelope, draws("copy"))

    def post_forged(self, envelope: Envelope) -> None:
        """Nobody serializes a forger: a lane of its own, at once."""
        self._dispatcher.send(dataclasses.replace(envelope, lane=self._stray_lane(envelope)))

    def _stray_lane(self, envelope: Envelope) -> str:
        self._strays += 1
        return f"{envelope.lane}#{self._strays}"

    def _send_copy(self, envelope: Envelope, rng: random.Random) -> None:
        """Half of the copies follow at once in their lane, half come late and past it."""
        copy = dataclasses.replace(envelope, copy=True, reordered=False)
        if rng.random() < 0.5:
            self._dispatcher.send(dataclasses.replace(copy, delay=0.0))
        else:
            late = rng.uniform(0.5, 4) / self._faults.speed
            self._dispatcher.send(dataclasses.replace(copy, lane=self._stray_lane(copy), delay=late))

    def _hold(self, envelope: Envelope) -> None:
        """Until its lane's next callback has gone; at most a few seconds, for there may be none."""
        self._held.setdefault(envelope.lane, []).append(envelope)
        if envelope.lane not in self._timers:
            loop, wait = asyncio.get_running_loop(), 10 / self._faults.speed
            self._timers[envelope.lane] = loop.call_later(wait, self._release, envelope.lane)

    def _release(self, lane: str) -> None:
        timer = self._timers.pop(lane, None)
        if timer is not None:
            timer.cancel()
        for envelope in self._held.pop(lane, []):
            self._dispatcher.send(envelope)
