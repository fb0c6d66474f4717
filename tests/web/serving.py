"""A real `hookledger serve` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "hook-token-of-the-tests-1"
PACKAGES = Path(__file__).parents[2]


def environment(database_url: str, **more: str) -> dict[str, str]:
    """What a process needs to serve `civ` (token). Upstream is an address where nobody is."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("HOOKLEDGER_")},
        "PYTHONPATH": str(PACKAGES),
        "HOOKLEDGER_DATABASE__URL": database_url,
        "HOOKLEDGER_SOURCES__CIV__PROVIDER": "civitai",
        "HOOKLEDGER_SOURCES__CIV__API_KEY": "api-key-of-the-tests",
        "HOOKLEDGER_SOURCES__CIV__HOOK_TOKEN": TOKEN,
        "HOOKLEDGER_SOURCES__CIV__BASE_URL": "http://127.0.0.1:9",
        **more,
    }


@dataclass
class Serve:
    """A running process: its address, and its log so far, line by line."""

    process: asyncio.subprocess.Process
    log: list[dict[str, Any]] = field(default_factory=list)
    _reading: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return str(self.log[0]["address"])

    @property
    def hook(self) -> str:
        return f"{self.url}/hooks/civ?token={TOKEN}"

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == name]

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log.append(json.loads(line))

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        assert self._reading is not None
        await asyncio.wait_for(self._reading, 40)
        return await asyncio.wait_for(self.process.wait(), 5)


async def run(*words: str, folder: Path, **env: str) -> tuple[int, str]:
    """Run `hookledger` to its end; return the exit code and what it said on standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", *words, cwd=folder, env=env, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, said.decode()


@asynccontextmanager
async def serve(*options: str, folder: Path, **env: str) -> AsyncIterator[Serve]:
    """`hookledger serve` on a free port while inside; killed at the end if it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "serve", "--port", "0", *options,
        cwd=folder, env=env, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Serve(process)
    running._reading = asyncio.create_task(running.read_log())
    try:
        async with asyncio.timeout(30):
            while not running.log:
                assert not running._reading.done(), "it ended without a word"
                await asyncio.sleep(0.01)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.wait({running._reading})
