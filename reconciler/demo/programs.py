"""The demo's programs: a stand-in upstream and hookledger itself, as a user would start them, in one folder."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

URL_TTL = 20
API_KEY = "demo-sandbox-key"

CONFIG = """\
[database]
url = "sqlite:///{folder}/hookledger.db"

[server]
port = {port}
public_url = "http://127.0.0.1:{port}"

[sources.civitai]
provider = "civitai"
base_url = "{upstream}"
api_key = "{api_key}"
hook_token = "{hook_token}"
silence = "6s"
deadline = "5m"
"""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and where to look."""


@dataclass(frozen=True)
class Stage:
    """Where everything is while the demo runs."""

    folder: Path
    upstream: str
    receiver: str
    hook_url: str
    token: str


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def staged(folder: Path, seed: int) -> AsyncIterator[Stage]:
    """Start the upstream and the receiver, wait until both answer, and stop them at the end."""
    upstream_port, port = free_port(), free_port()
    hook_token = secrets.token_urlsafe(24)
    upstream = f"http://127.0.0.1:{upstream_port}"
    config = folder / "hookledger.toml"
    config.write_text(
        CONFIG.format(folder=folder, port=port, upstream=upstream, api_key=API_KEY, hook_token=hook_token)
    )
    faults = (
        "--drop", "0.1", "--duplicate", "0.2", "--reorder", "0.05", "--delay", "0.03", "--forge", "0.05",
        "--forge-ending", "0.05", "--fail", "0.08", "--expire", "0.02", "--cancel", "0.03", "--status-5xx", "0.02",
        "--url-ttl", str(URL_TTL), "--speed", "5", "--seed", str(seed), "--api-key", API_KEY,
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(
            _running(folder, "upstream", "sandbox", "civitai", "--port", str(upstream_port), *faults)
        )
        server = await stack.enter_async_context(_running(folder, "hookledger", "--config", str(config), "serve"))
        await _until_answers(f"{upstream}/_sandbox/quiet", sandbox, folder / "upstream.log")
        await _until_answers(f"http://127.0.0.1:{port}/readyz", server, folder / "hookledger.log")
        token = await _make_token(config)
        receiver = f"http://127.0.0.1:{port}"
        yield Stage(folder, upstream, receiver, f"{receiver}/hooks/civitai?token={hook_token}", token)


@contextlib.asynccontextmanager
async def _running(folder: Path, name: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "receiver", *arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _until_answers(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            if process.returncode is not None:
                raise DemoFailed(f"a program ended at once; its last words: {_last_words(log)}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise DemoFailed(f"{url} does not answer; see {log}")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-600:].strip()


async def _make_token(config: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "--config", str(config), "token", "create", "demo", "--scope", "admin",
        "--json", stdout=subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise DemoFailed("no API token could be made; see the line above")
    return str(orjson.loads(printed)["token"])
