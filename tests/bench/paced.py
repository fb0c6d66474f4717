"""Load that does not wait for the server: deliveries fall due at random instants of a given rate, phase after phase.

Each one's latency counts from the instant it was due, not from when a connection was free for it, so that a server that
stalls cannot hide how many it has kept waiting. One that is answered 503 comes again after its Retry-After, as
upstreams do it, and counts from its first due instant until it is answered 200.

`python -m tests.bench.paced '{…}'` takes a `Job` as JSON and prints a `Report` as JSON.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import orjson
import uvloop

from tests.bench.load import Exchange, Traffic, cpu_used, percentile
from tests.bench.ticking import Ticker

SLOT = 0.25  # seconds of each entry in the course of events
PATIENCE = 120.0  # seconds for what is out when the last phase is over
AGAIN = 2.0  # seconds until a 503 without Retry-After is sent again


@dataclass(frozen=True)
class Job:
    """What to send where: `phases` are (deliveries per second, seconds). `traffic`, `first` and `acknowledged` are as
    in `load.Job`."""

    port: int
    target: str
    phases: list[tuple[float, float]]
    traffic: str
    first: int
    acknowledged: str
    connections: int = 64
    seed: int = 1


@dataclass
class Phase:
    """Latencies in ms of what was due in one phase, and how many were."""

    rate: float
    due: int
    p50: float
    p99: float
    p999: float
    most: float


@dataclass
class Report:
    """What came of it. `answers` counts deliveries, `statuses` every answer, `broken` connections the server closed on
    a request, which was sent again on another. `course` has per quarter of a second: how many fell due, how many were
    answered, how many answers were 503, how many were waiting at its end, and the longest latency (ms) of those
    answered in it. `drained` is per phase how long after its end the last delivery due in it was answered, seconds."""

    phases: list[Phase]
    drained: list[float]
    answers: int
    statuses: dict[str, int]
    broken: int
    course: list[tuple[int, int, int, int, float]]
    cpu: float
    wall: float
    received: int


class Paced:
    """The deliveries on their way."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.traffic = Traffic(Path(job.traffic), job.target, job.first)
        self.due = _instants(job)
        self.took = [-1.0] * len(self.due)  # by number; negative while there is no answer but 503
        self.kept: list[int] = []  # numbers answered 200
        self.statuses: Counter[int] = Counter()
        self.broken = self.received = 0
        self.refusals: list[float] = []  # when each 503 came
        self._next = 0
        self._left = len(self.due)
        self._waiting: deque[int] = deque()
        self._again: list[tuple[float, int]] = []
        self._idle: list[_Wire] = []
        self._began = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ticker = Ticker(self._tick)

    def start(self) -> None:
        """Begin the clock; connections have been given to `free` by then."""
        self._began = time.perf_counter()
        self._tick()

    def free(self, wire: _Wire) -> None:
        """Use a connection that has nothing under way."""
        if self._waiting:
            self._send(wire, self._waiting.popleft())
        else:
            self._idle.append(wire)

    def lost(self, wire: _Wire) -> None:
        """Do without a connection from now on, and send again what was under way on it."""
        if wire in self._idle:
            self._idle.remove(wire)
        if wire.number >= 0 and not self.over.done():
            self.broken += 1
            self._queue(wire.number)

    def answered(self, wire: _Wire, status: int, data: bytes) -> None:
        """Note an answer and use the connection for what waits."""
        at = time.perf_counter() - self._began
        number, wire.number = wire.number, -1
        self.statuses[status] += 1
        self.received += len(data)
        if status == 503:
            self.refusals.append(at)
            heapq.heappush(self._again, (at + _retry_after(data), number))
            self._wind()
        else:
            self.took[number] = at - self.due[number]
            if status == 200:
                self.kept.append(number)
            self._left -= 1
            if not self._left and not self.over.done():
                self.over.set_result(None)
        self.free(wire)

    def close(self) -> None:
        """Let go of the timer."""
        self._ticker.close()

    def _tick(self) -> None:
        at = time.perf_counter() - self._began
        while self._next < len(self.due) and self.due[self._next] <= at:
            self._queue(self._next)
            self._next += 1
        while self._again and self._again[0][0] <= at:
            self._queue(heapq.heappop(self._again)[1])
        self._wind()

    def _wind(self) -> None:
        times = [self.due[self._next]] if self._next < len(self.due) else []
        times += [self._again[0][0]] if self._again else []
        if times:
            self._ticker.at(self._began + min(times))

    def _queue(self, number: int) -> None:
        if self._idle:
            self._send(self._idle.pop(), number)
        else:
            self._waiting.append(number)

    def _send(self, wire: _Wire, number: int) -> None:
        wire.number = number
        wire.put(self.traffic.request(self._job.first + number))


class _Wire(Exchange):
    """One connection; `number` is of the delivery under way, -1 while there is none."""

    def __init__(self, paced: Paced) -> None:
        super().__init__()
        self._paced = paced
        self.number = -1

    def answered(self, status: int, data: bytes) -> None:
        self._paced.answered(self, status, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._paced.lost(self)


def _instants(job: Job) -> list[float]:
    """When each delivery is due, in seconds from the beginning: independent of each other, as from many senders."""
    random, at, ends, out = Random(job.seed), 0.0, 0.0, []
    for rate, seconds in job.phases:
        at, ends = ends, ends + seconds
        while (at := at + random.expovariate(rate)) < ends:
            out.append(at)
    return out


def _retry_after(data: bytes) -> float:
    place = data.lower().find(b"retry-after: ")
    return float(data[place + 13 : data.index(b"\r", place)]) if place >= 0 else AGAIN


async def send(job: Job) -> tuple[Report, bytes]:
    """Send it all; return what came of it and the sha256 of every body answered 200. Raises TimeoutError."""
    paced = Paced(job)
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Wire(paced), "127.0.0.1", job.port) for _ in range(job.connections)]
    for _, wire in opened:
        paced.free(wire)
    used, began = cpu_used(), time.perf_counter()
    paced.start()
    async with asyncio.timeout(sum(seconds for _, seconds in job.phases) + PATIENCE):
        await paced.over
    used, wall = cpu_used() - used, time.perf_counter() - began
    for transport, _ in opened:
        transport.close()
    paced.close()
    digests = (sha256(paced.traffic.body(job.first + number)).digest() for number in paced.kept)
    return _report(job, paced, used, wall), b"".join(digests)


def _report(job: Job, paced: Paced, used: float, wall: float) -> Report:
    phases, drained, ends = [], [], 0.0
    for rate, seconds in job.phases:
        begins, ends = ends, ends + seconds
        inside = [n for n, due in enumerate(paced.due) if begins <= due < ends]
        ordered = sorted(paced.took[n] * 1000 for n in inside)
        p50, p99, p999, most = (percentile(ordered or [0.0], share) for share in (0.5, 0.99, 0.999, 1.0))
        phases.append(Phase(rate, len(inside), p50, p99, p999, most))
        drained.append(max((paced.due[n] + paced.took[n] - ends for n in inside), default=0.0))
    return Report(
        phases,
        [max(one, 0.0) for one in drained],
        answers=len(paced.due),
        statuses={str(status): count for status, count in sorted(paced.statuses.items())},
        broken=paced.broken,
        course=_course(paced, wall),
        cpu=used,
        wall=wall,
        received=paced.received,
    )


def _course(paced: Paced, wall: float) -> list[tuple[int, int, int, int, float]]:
    slots = int(wall / SLOT) + 1
    due, done, refused, longest = [0] * slots, [0] * slots, [0] * slots, [0.0] * slots
    for instant, took in zip(paced.due, paced.took, strict=True):
        due[min(int(instant / SLOT), slots - 1)] += 1
        place = min(int((instant + took) / SLOT), slots - 1)
        done[place] += 1
        longest[place] = max(longest[place], took * 1000)
    for at in paced.refusals:
        refused[min(int(at / SLOT), slots - 1)] += 1
    out, waiting = [], 0
    for place in range(slots):
        waiting += due[place] - done[place]
        out.append((due[place], done[place], refused[place], waiting, longest[place]))
    return out


async def _main(job: Job) -> None:
    report, acknowledged = await send(job)
    await asyncio.to_thread(Path(job.acknowledged).write_bytes, acknowledged)
    sys.stdout.buffer.write(orjson.dumps(asdict(report)))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(Job(**orjson.loads(sys.argv[1]))))
