"""Clients that stall: one process that opens N connections from many addresses and never finishes a request.

`python -m tests.bench.holding '{…}'` takes a `Hold` as JSON, prints a line when all connections are open, and when the
server has closed the last of them a `Held` as JSON.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, dataclass, field
from typing import cast

import orjson
import uvloop

SHAPES = ("silent", "slow header", "slow body")
AT_ONCE = 200  # connections being opened together
DRIP = 2.0  # seconds between two bytes of a slow request
PATIENCE = 20.0  # seconds after its deadline in which a connection must be closed

_HEAD = b"POST /hooks/civitai?token=none HTTP/1.1\r\nhost: bench\r\nuser-agent: slow\r\n"
_STARTS = {
    "silent": b"",
    "slow header": _HEAD + b"x-slow: ",
    "slow body": _HEAD + b"content-type: application/json\r\ncontent-length: 2000\r\n\r\n{",
}


@dataclass(frozen=True)
class Hold:
    """`count` connections to a port, an equal part of each shape, closed by the server within `deadline` seconds."""

    port: int
    count: int
    deadline: float


@dataclass
class Held:
    """What became of them: `late` is by how many seconds the last of each shape was closed after its deadline (below
    nought: before), `told` what the server said first (`""` where it closed without a word)."""

    opened: int = 0
    closed: int = 0
    failed: int = 0
    late: dict[str, float] = field(default_factory=dict)
    told: dict[str, dict[str, int]] = field(default_factory=dict)


class _Stalled(asyncio.Protocol):
    """One connection: says its beginning, then a byte now and then."""

    def __init__(self, shape: str, gone: asyncio.Future[tuple[str, float, bytes]]) -> None:
        self._shape, self._gone = shape, gone
        self._loop = asyncio.get_running_loop()
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is not one of asyncio's
        self._began = self._loop.time()
        if _STARTS[self._shape]:
            self._transport.write(_STARTS[self._shape])
            self._drip = self._loop.call_later(DRIP, self._again)

    def _again(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b" ")
            self._drip = self._loop.call_later(DRIP, self._again)

    def data_received(self, data: bytes) -> None:
        self._said = self._said or data[9:12]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result((self._shape, self._loop.time() - self._began, self._said))


def address(number: int) -> str:
    """Return one of 500 loopback addresses."""
    return f"127.0.{1 + number // 250 % 2}.{1 + number % 250}"


async def hold(job: Hold) -> Held:
    """Open all, say so, and wait until the server has closed them. Raises TimeoutError when it does not."""
    loop = asyncio.get_running_loop()
    held = Held()
    gone = [loop.create_future() for _ in range(job.count)]
    turn = asyncio.Semaphore(AT_ONCE)

    async def open_one(number: int) -> None:
        async with turn:
            shape = SHAPES[number % len(SHAPES)]
            try:
                await loop.create_connection(
                    lambda: _Stalled(shape, gone[number]), "127.0.0.1", job.port, local_addr=(address(number), 0)
                )
                held.opened += 1
            except OSError:
                held.failed += 1
                gone[number].cancel()

    await asyncio.gather(*(open_one(number) for number in range(job.count)))
    print("open", flush=True)
    async with asyncio.timeout(job.deadline + PATIENCE):
        ended = await asyncio.gather(*gone, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            continue
        shape, lasted, said = one
        held.closed += 1
        heard = held.told.setdefault(shape, {})
        heard[said.decode()] = heard.get(said.decode(), 0) + 1
        held.late[shape] = max(held.late.get(shape, -job.deadline), lasted - job.deadline)
    return held


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(hold(Hold(**orjson.loads(sys.argv[1]))))
    sys.stdout.buffer.write(orjson.dumps(asdict(result)))
