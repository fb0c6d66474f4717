"""A burst: very many deliveries at once over many connections, each sent again until it is answered 200.

`python -m tests.chaos.burst '{…}'` takes a `Job` as JSON and prints a `Report` as JSON. Every body differs from every
other in at least its nonce.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import cast

import orjson
import uvloop

WORKFLOWS_PER = 20  # deliveries of one workflow, on average
LONGEST_WAIT = 1.0  # seconds; Retry-After says more, but the burst is to be over some day
SENT_TWICE = 0.02  # of those answered 200


@dataclass(frozen=True)
class Job:
    """What to send where. `names` is the file that gets, for each body, its sha256 and every name it was given."""

    port: int
    target: str
    count: int
    connections: int
    names: str
    seed: int = 1
    patience: float = 600.0


@dataclass
class Report:
    """What came of it: answers by status, connections that broke under a request, and seconds."""

    statuses: dict[str, int] = field(default_factory=dict)
    torn: int = 0
    without_retry_after: int = 0  # 503s that did not say when to come again
    seconds: float = 0.0
    slowest: float = 0.0  # answer, in seconds


class Burst:
    """The deliveries that are left, and what became of the others."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rng = random.Random(job.seed)
        self.bodies = [self._body(number) for number in range(job.count)]
        self.names: list[list[str]] = [[] for _ in self.bodies]
        self.left: deque[int] = deque(range(job.count))
        self.open = job.count
        self.statuses: Counter[int] = Counter()
        self.report = Report()
        self.over = asyncio.Event()

    def _body(self, number: int) -> bytes:
        workflow = f"burst-{self._rng.randrange(max(self._job.count // WORKFLOWS_PER, 1)):06d}"
        status = self._rng.choice(("scheduled", "processing", "processing", "processing", "succeeded"))
        event: dict[str, object] = {"workflowId": workflow, "status": status, "nonce": number}
        kind = self._rng.choice(("workflow", "step", "job"))
        if kind == "step":
            event |= {"name": f"${number % 2}"}
        if kind == "job":
            event |= {"jobId": f"{workflow}-job-{number % 4}", "stepName": f"${number % 2}", "progress": 0.5}
        return orjson.dumps({"$type": kind, **event})

    def request(self, number: int) -> bytes:
        """Return one delivery as it stands on the wire."""
        body = self.bodies[number]
        head = f"POST {self._job.target} HTTP/1.1\r\nHost: hooks\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def answered(self, number: int, head: bytes, body: bytes, seconds: float) -> float:
        """Note an answer; returns how many seconds this connection should wait."""
        status = int(head[9:12])
        self.statuses[status] += 1
        self.report.slowest = max(self.report.slowest, seconds)
        if status != 200:
            self.left.append(number)
            place = head.lower().find(b"retry-after: ")
            if status == 503 and place < 0:
                self.report.without_retry_after += 1
            return min(float(head[place + 13 : head.index(b"\r", place)]), LONGEST_WAIT) if place >= 0 else LONGEST_WAIT
        if not self.names[number]:
            self.open -= 1
        self.names[number].append(orjson.loads(body)["delivery"])
        if len(self.names[number]) == 1 and self._rng.random() < SENT_TWICE:
            self.left.appendleft(number)
        if not self.open and not self.left:
            self.over.set()
        return 0.0

    def torn(self, number: int) -> None:
        """Note that a connection broke before its answer: nobody knows, so it is sent again."""
        self.report.torn += 1
        self.left.append(number)


class Connection(asyncio.Protocol):
    """One connection with one request under way, opened anew when it breaks."""

    def __init__(self, burst: Burst, lost: asyncio.Queue[None]) -> None:
        self._burst, self._lost = burst, lost
        self._number: int | None = None
        self._buffer = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self.next()

    def next(self) -> None:
        """Send what is next; look again a little later when there is nothing just now."""
        if self._transport.is_closing():
            return
        if not self._burst.left:
            asyncio.get_running_loop().call_later(0.05, self.next)
            return
        self._number = self._burst.left.popleft()
        self._began = time.perf_counter()
        self._transport.write(self._burst.request(self._number))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[: end + 2]
        place = head.find(b"content-length: ")
        length = int(head[place + 16 : head.index(b"\r", place)])
        if len(self._buffer) < end + 4 + length or self._number is None:
            return
        body, self._buffer = self._buffer[end + 4 : end + 4 + length], b""
        number, self._number = self._number, None
        wait = self._burst.answered(number, head, body, time.perf_counter() - self._began)
        if wait:
            asyncio.get_running_loop().call_later(wait, self.next)
        else:
            self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._number is not None:
            self._burst.torn(self._number)
        self._lost.put_nowait(None)


async def send(job: Job) -> tuple[Report, Burst]:
    """Send all of it. Raises TimeoutError when `patience` is over first."""
    burst = Burst(job)
    loop = asyncio.get_running_loop()
    lost: asyncio.Queue[None] = asyncio.Queue()
    for _ in range(job.connections):
        lost.put_nowait(None)

    async def keep_connected() -> None:
        while True:
            await lost.get()
            try:
                await loop.create_connection(partial(Connection, burst, lost), "127.0.0.1", job.port)
            except OSError:
                lost.put_nowait(None)
                await asyncio.sleep(0.05)

    connecting = asyncio.create_task(keep_connected())
    began = time.perf_counter()
    try:
        async with asyncio.timeout(job.patience):
            await burst.over.wait()
    finally:
        connecting.cancel()
    burst.report.seconds = time.perf_counter() - began
    burst.report.statuses = {str(status): count for status, count in sorted(burst.statuses.items())}
    return burst.report, burst


async def _main(job: Job) -> None:
    report, burst = await send(job)
    lines = (
        f"{sha256(body).hexdigest()} {' '.join(names)}" for body, names in zip(burst.bodies, burst.names, strict=True)
    )
    await asyncio.to_thread(Path(job.names).write_text, "\n".join(lines), "ascii")
    sys.stdout.buffer.write(orjson.dumps(asdict(report)))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(Job(**orjson.loads(sys.argv[1]))))
