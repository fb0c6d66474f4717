"""The load: one process that keeps N connections busy, each with one request at a time, and times every answer.

`python -m tests.bench.load '{…}'` takes a `Job` as JSON and prints a `Report` as JSON. Raw sockets and requests made
beforehand, so that it costs a small part of what it measures; its own share of a core is in the report.
"""

from __future__ import annotations

import array
import asyncio
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import cast

import orjson
import uvloop

from tests.bench import mix

PATIENCE = 30.0  # seconds for the answers that are out when the time is over


@dataclass(frozen=True)
class Job:
    """What to send where: `seconds` are measured after `warm` ones.

    `traffic` is a file with a mix, one body per line. It is sent round and round, each time as other traffic; `first`
    is the place in this endless row to go on from, so that a contender sees one stream over all its rounds.
    `acknowledged` is the file that gets the sha256 of each body answered 200, 32 bytes each, in no order.
    """

    port: int
    target: str
    seconds: float
    warm: float
    traffic: str
    first: int
    acknowledged: str
    connections: int = 64


@dataclass
class Report:
    """What came of it. `answers` and `statuses` count all, warming up included; `rate` and the latencies (ms) only
    what was answered within the measured seconds (also what was sent before these: a slow contender would lose it).
    `cpu` and `wall` are seconds of the whole sending, `received` the bytes of all answers."""

    rate: float
    p50: float
    p99: float
    p999: float
    answers: int
    statuses: dict[str, int]
    cpu: float
    wall: float
    mean_body: float
    received: int = 0


class Traffic:
    """A mix as requests, one after the other for ever: `first` is the number of the first one sent."""

    def __init__(self, file: Path, target: str, first: int) -> None:
        self.bodies = file.read_bytes().split(b"\n")
        self._plain = [mix.request(target, body) for body in self.bodies]
        self._lap = first // len(self.bodies)
        self._ready = [mix.tagged(one, self._lap) for one in self._plain]

    def request(self, number: int) -> bytes:
        """Return what goes over the wire under a number."""
        lap, place = divmod(number, len(self._ready))
        if lap != self._lap:  # the same again as other traffic, which the one `replace` pays for
            return mix.tagged(self._plain[place], lap)
        return self._ready[place]

    def body(self, number: int) -> bytes:
        """Return the body that is sent under a number."""
        lap, place = divmod(number, len(self.bodies))
        return mix.tagged(self.bodies[place], lap)


class Load:
    """The traffic on its way: what goes next, and what came back."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.traffic = Traffic(Path(job.traffic), job.target, job.first)
        self._next = 0
        self.began: list[float] = []  # by sequence number, which counts from 0
        self.took: list[float] = []  # by sequence number; negative while there is no answer
        self.status: list[int] = []
        self.statuses: Counter[int] = Counter()
        self.received = 0
        self.measured_from = self.ends = 0.0

    def start(self) -> None:
        """Begin the clock."""
        self.measured_from = time.perf_counter() + self._job.warm
        self.ends = self.measured_from + self._job.seconds

    def take(self, at: float) -> tuple[int, bytes] | None:
        """Return the next request and its number, None when the time is over."""
        if at >= self.ends:
            return None
        sequence = self._next
        self._next += 1
        self.began.append(at)
        self.took.append(-1.0)
        self.status.append(0)
        return sequence, self.traffic.request(self._job.first + sequence)

    def answered(self, sequence: int, status: int, at: float) -> None:
        """Note one answer."""
        self.took[sequence] = at - self.began[sequence]
        self.status[sequence] = status
        self.statuses[status] += 1

    def body(self, sequence: int) -> bytes:
        """Return the body that was sent under a sequence number."""
        return self.traffic.body(self._job.first + sequence)


class Exchange(asyncio.Protocol):
    """One keep-alive connection with one request under way; `answered` is called for each whole answer."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own class is not one of asyncio's

    def put(self, request: bytes) -> None:
        """Send a request. The one before must have been answered."""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _length(data, end):
            self._buffer = data
            return
        self._buffer = b""
        self.answered(int(data[9:12]), data)

    def answered(self, status: int, data: bytes) -> None:
        """Take an answer."""
        raise NotImplementedError


class Connection(Exchange):
    """One that sends its next request as soon as the last one is answered."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        super().__init__()
        self._load = load
        self._done = done
        self._sequence = -1

    def send(self, at: float) -> None:
        """Send the next request; with none left, this connection is done."""
        given = self._load.take(at)
        if given is None:
            if not self._done.done():
                self._done.set_result(None)
            return
        self._sequence, request = given
        self.put(request)

    def answered(self, status: int, data: bytes) -> None:
        at = time.perf_counter()
        self._load.received += len(data)
        self._load.answered(self._sequence, status, at)
        self.send(at)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(f"the server closed a connection: {exc}"))


def _length(data: bytes, end: int) -> int:
    place = data.find(b"content-length: ", 0, end)
    if place < 0:  # uvicorn writes it in small letters, others do not
        place = data.find(b"Content-Length: ", 0, end)
        if place < 0:
            return 0
    return int(data[place + 16 : data.index(b"\r", place)])


async def send(job: Job) -> tuple[Report, bytes]:
    """Send the traffic; return what came of it and the sha256 of every body answered 200, one after the other.

    Raises ConnectionError, TimeoutError.
    """
    load = Load(job)
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(job.connections)]
    opened = [await loop.create_connection(partial(Connection, load, one), "127.0.0.1", job.port) for one in done]
    used, began = cpu_used(), time.perf_counter()
    load.start()
    for _, connection in opened:
        connection.send(time.perf_counter())
    async with asyncio.timeout(job.warm + job.seconds + PATIENCE):
        await asyncio.gather(*done)
    used, wall = cpu_used() - used, time.perf_counter() - began
    for transport, _ in opened:
        transport.close()
    told = (sequence for sequence, status in enumerate(load.status) if status == 200)
    return _report(load, used, wall), b"".join(sha256(load.body(sequence)).digest() for sequence in told)


def cpu_used() -> float:
    """Return the CPU time this process has used, in seconds."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the ordered values do not exceed."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _report(load: Load, used: float, wall: float) -> Report:
    within = array.array("d")
    window = load.ends - load.measured_from
    for began, took in zip(load.began, load.took, strict=True):
        if began + took >= load.measured_from and began + took <= load.ends:
            within.append(took)
    ordered = sorted(within)
    if not ordered:
        raise TimeoutError("nothing was answered within the measured time")
    sent = sum(len(load.body(sequence)) for sequence in range(len(load.began)))
    return Report(
        rate=len(ordered) / window,
        p50=percentile(ordered, 0.5) * 1000,
        p99=percentile(ordered, 0.99) * 1000,
        p999=percentile(ordered, 0.999) * 1000,
        answers=len(load.began),
        statuses={str(status): count for status, count in sorted(load.statuses.items())},
        cpu=used,
        wall=wall,
        mean_body=sent / len(load.began),
        received=load.received,
    )


async def _main(job: Job) -> None:
    report, acknowledged = await send(job)
    await asyncio.to_thread(Path(job.acknowledged).write_bytes, acknowledged)
    sys.stdout.buffer.write(orjson.dumps(asdict(report)))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(Job(**orjson.loads(sys.argv[1]))))
