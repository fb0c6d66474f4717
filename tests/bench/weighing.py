"""`python -m tests.bench.weighing`: what a stalled connection costs in memory, by what it has said before it stalled.

For each shape a fresh server, a few requests to warm it, then N connections from many addresses that all stop at the
same place. What the server's resident memory has grown by a few seconds later is divided among all of them: those that
it has turned away by then, because the room they shared was short, are its answer to the flood.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from tests.bench import machine
from tests.bench.holding import address
from tests.bench.processes import HOOK_TOKEN, BenchFailed, free_port, hookledger, started, write_config

ALLOWED = 16.0  # KiB
SETTLED = 4.0  # seconds after the last has said its part; the door has looked at everybody by then
WARMING = 50  # requests that are answered first
FILES = 1000  # open files beside the connections

_LINE = f"POST /hooks/civitai?token={HOOK_TOKEN} HTTP/1.1\r\nhost: bench\r\n".encode()
_JSON = b"content-type: application/json\r\n"


def _sized(length: int, come: int) -> bytes:
    return _LINE + _JSON + b"content-length: %d\r\n\r\n" % length + b" " * come


def _chunked(size: int, count: int) -> bytes:
    return _LINE + _JSON + b"transfer-encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (size, b" " * size) * count


SHAPES: dict[str, bytes] = {
    "silent": b"",
    "a head's first bytes": _LINE + b"x-slow: ",
    "a head of 1 KB": _LINE + b"x-slow: " + b"x" * 900,
    "a head of 3.5 KB": _LINE + b"x-slow: " + b"x" * 3400,
    "a head of 31 KB": _LINE + b"x-slow: " + b"x" * 31_000,
    "a head of 99 headers": _LINE + b"".join(b"x-%d: y\r\n" % n for n in range(98)),
    "a body's first byte": _sized(2000, 1),
    "3.5 KB of a body": _sized(20_000, 3_500),
    "7.9 KB of a body": _sized(20_000, 7_900),
    "8.5 KB of a body": _sized(20_000, 8_500),
    "30 KB of a body": _sized(1_000_000, 30_000),
    "200 KB of a body": _sized(1_000_000, 200_000),
    "30 KB in chunks": _chunked(1000, 30),
    "asks whether to send 2 KB": _LINE + _JSON + b"content-length: 2000\r\nexpect: 100-continue\r\n\r\n",
    "asks, and sends 8.5 KB": _LINE + _JSON + b"content-length: 20000\r\nexpect: 100-continue\r\n\r\n" + b" " * 8_500,
    "a body nobody wants": _sized(20_000, 8_500).replace(HOOK_TOKEN.encode(), b"wrong"),
    "rests after an answer": b"GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n",
}


@dataclass(frozen=True)
class Weight:
    """`opened` connections, how many of them were `kept`, and the memory that came with them, KiB."""

    shape: str
    opened: int
    kept: int
    kib: float

    @property
    def each(self) -> float:
        """KiB for each that was opened."""
        return self.kib / self.opened


def _post(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        one.sendall(_sized(2, 2))
        one.recv(4096)


@contextmanager
def stalling(port: int, words: bytes, count: int) -> Iterator[list[socket.socket]]:
    """Open connections, say the words on each, and keep them while inside."""
    held: list[socket.socket] = []
    try:
        for number in range(count):
            one = socket.socket()
            held.append(one)
            one.bind((address(number), 0))
            one.connect(("127.0.0.1", port))
            # In two parts, as nothing that arrives whole stalls.
            one.sendall(words[:100])
            one.setblocking(False)
        for start in range(0, len(words), 20_000):
            for one in held:
                _say(one, words[max(start, 100) : start + 20_000])
            time.sleep(0.2)
        yield held
    finally:
        for one in held:
            one.close()


def _say(one: socket.socket, words: bytes) -> None:
    with suppress(OSError):  # it has been turned away
        one.send(words)  # what its buffer does not take is not said


def _kept(held: list[socket.socket]) -> int:
    """How many the server has not closed."""
    poll = select.poll()
    for one in held:
        poll.register(one, select.POLLRDHUP)
    return len(held) - len(poll.poll(0))


def weigh(folder: Path, shape: str, count: int) -> Weight:
    """Weigh one shape on a server of its own."""
    name = "".join(letter for letter in shape if letter.isalnum())
    config = write_config(folder, name, f"sqlite:///{folder}/{name}.db")
    port = free_port()
    command = hookledger(config, "serve", "--no-reconciler", "--port", str(port))
    with started(command, folder / f"{name}.log", port, {"HOOKLEDGER_SERVER__BODY_TIMEOUT": "60"}) as pid:
        for _ in range(WARMING):
            _post(port)
        time.sleep(0.5)
        before = machine.memory(pid)
        with stalling(port, SHAPES[shape], count) as held:
            time.sleep(SETTLED)
            return Weight(shape, count, _kept(held), (machine.memory(pid) - before) * 1024)


def show(count: int, found: list[Weight]) -> None:
    """Print what was found."""
    table = Table(title=f"{count} stalled connections of each shape", title_justify="left")
    for title in ("each has said", "kept", "MiB in all", "KiB each"):
        table.add_column(title, justify="left" if title == "each has said" else "right")
    for one in found:
        table.add_row(one.shape, str(one.kept), f"{one.kib / 1024:.1f}", f"{one.each:.1f}")
    Console(width=100).print(table)
    print(f"at most {max(one.each for one in found):.1f} KiB each ({ALLOWED:.0f} are allowed)")


def main() -> int:
    """Measure, print, return the exit code: 1 when a shape costs more than is allowed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.weighing", description=__doc__)
    parser.add_argument("--connections", type=int, default=5000, help="of each shape (default 5000)")
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="only these")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(given.connections + FILES, hard), hard))
    os.environ["HOOKLEDGER_SERVER__MAX_CONNECTIONS"] = str(2 * given.connections)
    found = []
    with tempfile.TemporaryDirectory(prefix="hookledger-weighing-") as folder:
        for shape in given.shape or SHAPES:
            try:
                one = weigh(Path(folder), shape, given.connections)
            except BenchFailed as error:
                sys.stderr.write(f"bench: {error}\n")
                return 2
            found.append(one)
    show(given.connections, found)
    if given.json is not None:
        given.json.write_bytes(orjson.dumps([{**vars(one), "each": one.each} for one in found]))
    return 0 if all(one.each <= ALLOWED for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
