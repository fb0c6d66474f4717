"""A network of two hosts on one machine, which can be made to lose every packet: PostgreSQL is on the far one.

Both ends think that they are connected until they find out by themselves, as behind a firewall that forgot them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RELAY = """
import asyncio, sys

async def relay(reader, writer):
    there = await asyncio.open_unix_connection(sys.argv[1])

    async def pipe(reader, writer):
        while some := await reader.read(65536):
            writer.write(some)
        writer.close()

    await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(relay, sys.argv[2], 5432)
    print("listening", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def may_make_networks() -> bool:
    """Whether we are allowed to, and have the tools."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"hookledger-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        _ip("netns", "del", name)
    return made


class LossyNetwork:
    """`url` leads to the database over it."""

    def __init__(self, number: int) -> None:
        self._space, self._here, self._there = f"hookledger-{number}", f"hl{number}a", f"hl{number}b"
        block = 4 * (number % 60)
        self._our_address, self._address = f"198.18.0.{block + 1}", f"198.18.0.{block + 2}"
        self.url = f"postgresql://postgres@{self._address}/postgres"

    def make(self) -> None:
        """Make the far host and the line to it."""
        _ip("netns", "add", self._space)
        _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self._space)
        _ip("addr", "add", f"{self._our_address}/30", "dev", self._here)
        _ip("link", "set", self._here, "up")
        _ip("-n", self._space, "addr", "add", f"{self._address}/30", "dev", self._there)
        _ip("-n", self._space, "link", "set", self._there, "up")

    @contextmanager
    def relay(self, socket: Path) -> Iterator[None]:
        """Have a PostgreSQL that listens on a socket of the file system listen on the far host, while inside."""
        words = ["ip", "netns", "exec", self._space, sys.executable, "-c", _RELAY, str(socket), self._address]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as relay:
            try:
                assert relay.stdout is not None
                assert relay.stdout.readline() == "listening\n"
                yield
            finally:
                relay.kill()

    def lose_everything(self) -> None:
        """From now on no packet arrives, in either direction."""
        _ip("-n", self._space, "link", "set", self._there, "down")

    def remove(self) -> None:
        """Take it all away; what is not there is no matter."""
        for words in (("link", "del", self._here), ("netns", "del", self._space)):
            subprocess.run(["ip", *words], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def lossy_network(socket: Path) -> Iterator[LossyNetwork]:
    """A network whose far host relays to a PostgreSQL's socket; all of it is gone afterwards."""
    network = LossyNetwork(os.getpid() % 10_000)
    try:
        network.make()
        with network.relay(socket):
            yield network
    finally:
        network.remove()
