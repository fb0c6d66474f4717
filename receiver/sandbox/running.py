"""A stand-in that is being served, as a program sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from starlette.types import ASGIApp

from receiver.sandbox.engine import Engine
from receiver.sandbox.serving import address_of, bind, serving

Stand = TypeVar("Stand", bound=Engine)


class Running(Generic[Stand]):
    """A sandbox that is being served."""

    def __init__(self, sandbox: Stand) -> None:
        self.sandbox = sandbox

    @property
    def base_url(self) -> str:
        """`http://host:port`."""
        return self.sandbox.base_url

    @property
    def api_key(self) -> str:
        """The key it takes."""
        return self.sandbox.faults.api_key

    def truth(self) -> dict[str, Any]:
        """As `GET /_sandbox/truth`."""
        return self.sandbox.truth()

    def log(self) -> dict[str, Any]:
        """As `GET /_sandbox/log`."""
        return self.sandbox.log()

    def quiet(self) -> bool:
        """Everything has ended, every callback is delivered, dropped or given up."""
        return bool(self.sandbox.quiet()["quiet"])

    def set_faults(self, **knobs: Any) -> None:
        """As `POST /_sandbox/faults`; BadKnob when one is wrong."""
        self.sandbox.set_faults(knobs)

    def advance(self, seconds: float) -> None:
        """As `POST /_sandbox/advance`."""
        self.sandbox.advance(seconds)

    def finish(self, workflow_id: str, status: str = "succeeded", reason: str | None = None) -> None:
        """As `POST /_sandbox/finish`; KeyError for an unknown workflow, ValueError for an unknown status."""
        self.sandbox.finish(workflow_id, status, reason)

    async def wait_quiet(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - a limit with a clear sentence
        """Return once quiet; TimeoutError says what is still open."""
        ends = asyncio.get_running_loop().time() + timeout
        while not self.quiet():
            if asyncio.get_running_loop().time() > ends:
                raise TimeoutError(f"the sandbox is not quiet after {timeout:g} s: {self.sandbox.quiet()}")
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(sandbox: Stand, app: Callable[[Stand], ASGIApp], host: str, port: int) -> AsyncIterator[None]:
    """Serve the sandbox in the running loop while inside. OSError for an address that cannot be had."""
    sock = bind(host, port)
    sandbox.base_url = address_of(sock)
    await sandbox.start()
    try:
        async with serving(app(sandbox), sock, sandbox.end_waits):
            yield
    finally:
        await sandbox.stop()
