"""The receiver's application on a real socket: uvicorn, told once how, with an end that answers what is in flight."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from starlette.applications import Starlette

from receiver.web.files import connections_for
from receiver.web.protocol import protocol_of
from receiver.web.site import Site

BACKLOG = 2048  # connections the kernel holds for us
GRACE = 10  # seconds for what is in flight; what has not arrived whole is hurried


class StartFailed(Exception):
    """The server could not start; the message says why."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises StartFailed when the address cannot be had."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # asyncio switches Nagle's algorithm off only when the protocol is named; with it on, each answer is 40 ms late.
        sock = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StartFailed(
            f"cannot listen on {host} port {port}: {why}; choose another with --host and --port, or server.host and"
            " server.port in the configuration"
        ) from None
    return sock


def address_of(sock: socket.socket) -> str:
    """Return `http://host:port` of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server, that leaves with 0 when it is told to end, and says so to whoever waits for long."""

    def __init__(self, app: Starlette, *, signals: Sequence[signal.Signals] = ()) -> None:
        """Prepare what `build_app` returned. Any of `signals` ends it, and so does `stop`."""
        site: Site = app.state.site
        proxies = site.config.server.trusted_proxies
        super().__init__(
            uvicorn.Config(
                site.door.sharing(app) if proxies else app,
                loop="none",
                http=protocol_of(site.door),
                ws="none",
                lifespan="on",  # "auto" would hide a failed start and serve 500s
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=list(proxies),
                timeout_graceful_shutdown=GRACE,
            )
        )
        self.app = app
        self._site = site
        self._signals = signals
        self._watching: asyncio.Task[None] | None = None
        self.on_start: Callable[[], object] = lambda: None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals. uvicorn's own way would raise them again at the end, and so end with an error."""
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            yield
        finally:
            for number in self._signals:
                loop.remove_signal_handler(number)

    def _signalled(self, number: signal.Signals) -> None:
        # An impatient person presses Ctrl-C twice; a supervisor may well send SIGTERM twice and mean it once.
        if self.should_exit and number == signal.SIGINT:
            self.force_exit = True
        self.stop()

    def stop(self) -> None:
        """End: take nothing new, answer what is in flight, leave."""
        self.should_exit = True
        self._site.stopping.set()
        self._site.door.hurry()

    async def main_loop(self) -> None:
        """Until told to end; uvicorn's own looks ten times a second whether it has been."""
        while not await self.on_tick(0):  # which renews the Date header
            with suppress(TimeoutError):
                await asyncio.wait_for(self._site.stopping.wait(), 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        self._site.door.most = connections_for(self._site.door.most)
        self._watching = asyncio.create_task(self._site.door.watch(), name="door")
        await super().startup(sockets)
        if self.started:
            self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, answer what is in flight for as long as it may take, and end the application."""
        await super().shutdown(sockets)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})


@asynccontextmanager
async def running(app: Starlette, sock: socket.socket) -> AsyncIterator[Server]:
    """Serve on `sock` while inside, in this event loop and without its signals; then end as on SIGTERM."""
    server = Server(app)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise StartFailed("the server ended before it began")
            await asyncio.sleep(0.001)
        yield server
    finally:
        server.stop()
        await task
