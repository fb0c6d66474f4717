"""Start a Civitai sandbox from a program: `async with running_civitai(drop=0.1, speed=50) as upstream: …`"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from receiver.sandbox.civitai_app import civitai_app
from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.civitai_sandbox import CivitaiSandbox
from receiver.sandbox.serving import address_of, bind, serving


class RunningCivitai:
    """A sandbox that is being served."""

    def __init__(self, sandbox: CivitaiSandbox) -> None:
        self.sandbox = sandbox

    @property
    def base_url(self) -> str:
        """`http://host:port`."""
        return self.sandbox.base_url

    @property
    def api_key(self) -> str:
        """The bearer token it takes."""
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
        """As `POST /_sandbox/finish`; KeyError for an unknown workflow."""
        world = self.sandbox.world
        world.finish(world.workflows[workflow_id], self.sandbox.clock.now(), status, reason)

    async def wait_quiet(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - a limit with a clear sentence
        """Return once quiet; TimeoutError says what is still open."""
        ends = asyncio.get_running_loop().time() + timeout
        while not self.quiet():
            if asyncio.get_running_loop().time() > ends:
                raise TimeoutError(f"the sandbox is not quiet after {timeout:g} s: {self.sandbox.quiet()}")
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running_civitai(
    *, host: str = "127.0.0.1", port: int = 0, **knobs: Any
) -> AsyncIterator[RunningCivitai]:
    """Serve a sandbox in the running loop; `knobs` are those of CivitaiFaults.

    BadKnob, and OSError for an address that cannot be had, come at once."""
    faults = CivitaiFaults()
    faults.update(knobs)
    sandbox = CivitaiSandbox(faults)
    sock = bind(host, port)
    sandbox.base_url = address_of(sock)
    await sandbox.start()
    try:
        async with serving(civitai_app(sandbox), sock, sandbox.end_waits):
            yield RunningCivitai(sandbox)
    finally:
        await sandbox.stop()
