"""A sandbox's application on a real socket, in the event loop that is running."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

GRACE = 2.0


class EmbeddedServer(uvicorn.Server):
    """Leaves the signals of the program around it alone, and stops when told, not a tick later."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: whoever embeds the sandbox has its own."""
        yield

    async def main_loop(self) -> None:
        """Until told to stop."""
        await self.told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close; answer what is in flight, for `GRACE` seconds at most. uvicorn's own sleeps 0.1 s, in every test."""
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        ends = asyncio.get_running_loop().time() + GRACE
        while state.connections or state.tasks:
            if asyncio.get_running_loop().time() > ends:
                for task in state.tasks:
                    task.cancel()
                ends += GRACE
            await asyncio.sleep(0.002)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only when the protocol is named; with it on, each answer is 40 ms late.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except BaseException:
        sock.close()
        raise
    return sock


def address_of(sock: socket.socket) -> str:
    """`http://host:port` of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, sock: socket.socket, before_stop: Callable[[], object] = lambda: None
) -> AsyncIterator[None]:
    """Serve on `sock` while inside. On leaving `before_stop` is called (to end long waits), then requests in flight are
    answered, for two seconds at most, then canceled, and everything is closed."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        date_header=False,
        server_header=False,
    )
    server = EmbeddedServer(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the sandbox's server ended before it began")
            await asyncio.sleep(0.001)
        yield
    finally:
        before_stop()
        server.told_to_stop.set()
        await task
