"""Start a Civitai sandbox from a program: `async with running_civitai(drop=0.1, speed=50) as upstream: …`"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from receiver.sandbox.civitai_app import civitai_app
from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.civitai_sandbox import CivitaiSandbox
from receiver.sandbox.running import Running, running

RunningCivitai = Running[CivitaiSandbox]


@contextlib.asynccontextmanager
async def running_civitai(*, host: str = "127.0.0.1", port: int = 0, **knobs: Any) -> AsyncIterator[RunningCivitai]:
    """Serve a sandbox in the running loop; `knobs` are those of CivitaiFaults.

    BadKnob, and OSError for an address that cannot be had, come at once."""
    faults = CivitaiFaults()
    faults.update(knobs)
    sandbox = CivitaiSandbox(faults)
    async with running(sandbox, civitai_app, host, port):
        yield Running(sandbox)
