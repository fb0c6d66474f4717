"""hookledger's own programs as real processes: started as a user would, killed, frozen and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY = "sandbox-key"
TOKEN = "hook-token-of-civitai-0001"
PATIENCE = 30.0


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Stage:
    """One configuration in a folder of its own, and the programs started with it."""

    folder: Path
    database_url: str
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)  # beside the test's own

    @classmethod
    def made(
        cls,
        folder: Path,
        database_url: str,
        upstream: str,
        *,
        server: Sequence[str] = (),
        source: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Stage:
        """Write the configuration: one source `civitai` at `upstream`."""
        stage = cls(folder, database_url, free_port(), environment or {})
        lines = [
            "[database]", f'url = "{database_url}"', "[server]", f"port = {stage.port}", *server, "[sources.civitai]",
            'provider = "civitai"', f'base_url = "{upstream}"', f'api_key = "{KEY}"', f'hook_token = "{TOKEN}"',
            *source,
        ]  # fmt: skip
        stage.config.write_text("\n".join(lines), encoding="utf-8")
        return stage

    @property
    def config(self) -> Path:
        """The configuration's file."""
        return self.folder / "hookledger.toml"

    @property
    def hook_path(self) -> str:
        """Where deliveries go, token included."""
        return f"/hooks/civitai?token={TOKEN}"

    @property
    def url(self) -> str:
        """Where `serve` is."""
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self, name: str, *arguments: str) -> AsyncIterator[Program]:
        """Start `hookledger …`; whatever is left of it at the end is killed. `name` names its log."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "receiver", "--config", str(self.config), *arguments,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **self.environment},
            )  # fmt: skip
        program = Program(process, log)
        try:
            yield program
        finally:
            await program.kill()

    async def finished(self, name: str, *arguments: str) -> int:
        """Run `hookledger …` to its end; return the exit code. `last_line` of its log is what it printed."""
        async with self.running(name, *arguments) as program:
            return await program.ended(90)

    def last_line(self, name: str) -> str:
        """What a program said last."""
        return ((self.folder / f"{name}.log").read_text(encoding="utf-8").strip().splitlines() or [""])[-1]

    async def until_ready(self, program: Program) -> None:
        """Return once `serve` answers that it is ready; AssertionError with its last words when it will not be."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            assert program.process.returncode is None, f"serve ended by itself: {program.words()}"
            if await asked_ready(self.port):
                return
            await asyncio.sleep(0.03)
        raise AssertionError(f"serve is not ready: {program.words()}")


async def asked_ready(port: int) -> bool:
    """Whether /readyz answers 200 just now."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@dataclass
class Program:
    """One process."""

    process: asyncio.subprocess.Process
    log: Path

    async def kill(self) -> None:
        """SIGKILL, unless it has ended; returns when it is gone."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return await self.ended(30)

    async def ended(self, seconds: float) -> int:
        """Its exit code, once it has ended; TimeoutError when it does not."""
        return await asyncio.wait_for(self.process.wait(), seconds)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def children(self) -> list[int]:
        """The pids of its own processes."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log about one kind of event."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in told if line.get("event") == event]

    def words(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-800:].strip()
