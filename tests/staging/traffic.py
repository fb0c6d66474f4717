"""Deliveries as an upstream sends them, over raw sockets: each is sent until it is answered 200, and nothing forgotten.

Every body is unique. Which were answered, with which name, and how often each was sent is what a ledger that lost its
process is held against.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.staging.waiting import until

ALIVE = ("unassigned", "preparing", "scheduled", "processing")
ENDINGS = ("succeeded", "failed", "expired", "canceled")
ANSWER_WITHIN = 10.0


@dataclass
class Sent:
    """One delivery: how often it was sent, and the names it was answered 200 with."""

    workflow_id: str
    body: bytes
    tries: int = 0
    names: list[str] = field(default_factory=list)


@dataclass
class Target:
    """A workflow of upstream's, with the steps and jobs deliveries may be about."""

    id: str
    steps: list[str]
    jobs: list[tuple[str, str]]  # (job, its step)


class Traffic:
    """So many connections, each with one delivery at a time; `stop` ends it when all that was sent is answered.

    `counts`: acknowledged, answered (with another status, by status), torn (sent, and the connection broke before an
    answer), refused (nobody listened), again (sent once more although answered), curt (a 503 that does not say when to
    come again). `slowest` is how long the slowest answer took, in seconds; `last` when the last 200 came (monotonic).
    """

    def __init__(self, port: int, path: str, targets: list[Target], *, seed: int, lanes: int = 16) -> None:
        self.sent: list[Sent] = []
        self.counts: Counter[str] = Counter()
        self.slowest = self.last = 0.0
        self._port, self._path, self._targets = port, path, targets
        self._stopping = asyncio.Event()
        self._tasks = [asyncio.create_task(self._lane(n, random.Random(f"{seed}-{n}"))) for n in range(lanes)]

    @property
    def under_way(self) -> int:
        """How many deliveries are sent and not answered yet."""
        return self.counts["sent"] - self.counts["answers"] - self.counts["torn"]

    async def until_acknowledged(self, more: int, seconds: float = 30) -> None:
        """Return when so many more have been answered 200."""
        wanted = self.counts["acknowledged"] + more
        await until(lambda: self.counts["acknowledged"] >= wanted, seconds)

    async def stop(self, seconds: float = 60) -> None:
        """Begin nothing new, and return when everything has been answered 200."""
        self._stopping.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), seconds)

    async def abandon(self) -> None:
        """End at once; for the end of a test that failed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _lane(self, number: int, rng: random.Random) -> None:
        link = _Link(self._port, self._path)
        try:
            turn = 0
            while not self._stopping.is_set():
                turn += 1
                target = rng.choice(self._targets)
                one = Sent(target.id, json.dumps(event(target, f"{number}-{turn}", rng)).encode())
                self.sent.append(one)
                while not await self._try(link, one):  # noqa: ASYNC110 - that is how an upstream waits
                    await asyncio.sleep(rng.uniform(0.1, 0.3))
                if rng.random() < 0.05:
                    self.counts["again"] += 1
                    await self._try(link, one)
                await asyncio.sleep(rng.uniform(0.0, 0.03))
        finally:
            await link.close()

    async def _try(self, link: _Link, one: Sent) -> bool:
        try:
            await link.connected()
        except OSError:
            self.counts["refused"] += 1
            return False
        one.tries += 1
        self.counts["sent"] += 1
        began = time.monotonic()
        try:
            status, body, patient = await asyncio.wait_for(link.post(one.body), ANSWER_WITHIN)
        except (OSError, EOFError, TimeoutError):
            self.counts["torn"] += 1
            await link.close()
            return False
        self.counts["answers"] += 1
        self.counts["curt"] += status == 503 and not patient
        self.slowest = max(self.slowest, time.monotonic() - began)
        if status != 200:
            self.counts[f"answered {status}"] += 1
            return False
        one.names.append(json.loads(body)["delivery"])
        self.counts["acknowledged"] += 1
        self.last = time.monotonic()
        return True


class _Link:
    """One connection that is kept, and made anew when it broke."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connected(self) -> None:
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self, body: bytes) -> tuple[int, bytes, bool]:
        """Return the status, the body, and whether the answer says when to come again."""
        assert self._streams is not None
        reader, writer = self._streams
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(f"POST {self._path} HTTP/1.1\r\nHost: hooks\r\n{kind}\r\n\r\n".encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        answered = await reader.readexactly(length)
        if "connection: close" in lines:
            await self.close()
        return int(lines[0].split()[1]), answered, any(line.startswith("retry-after:") for line in lines)

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()


def event(target: Target, nonce: str, rng: random.Random) -> dict[str, Any]:
    """An event about a workflow that runs, now and then one that says it has ended; `nonce` makes it unique."""
    status = rng.choice(ENDINGS) if rng.random() < 0.02 else rng.choice(ALIVE)
    common = {"workflowId": target.id, "status": status, "nonce": nonce}
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    match rng.choice(("workflow", "step", "job", "job")):
        case "workflow":
            return {"$type": "workflow", **common, "timestamp": stamp}
        case "step":
            details = {"retries": 0, "estimatedProgressRate": round(rng.random(), 3), "metadata": {}}
            return {"$type": "step", **common, "name": rng.choice(target.steps), "details": details}
        case _:
            job, step = rng.choice(target.jobs)
            return {"$type": "job", **common, "stepName": step, "jobId": job, "progress": round(rng.random(), 3)}
