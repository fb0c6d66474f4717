"""The demo's programs: stand-in upstreams and hookledger itself, as a user would start them, in one folder."""

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
from typing import Any

import aiohttp
import orjson

from reconciler.demo.upstreams import API_KEY, UPSTREAMS, URL_TTL

CONFIG = """\
[database]
url = "sqlite:///{folder}/hookledger.db"

[server]
port = {port}
public_url = "http://127.0.0.1:{port}"
"""

SOURCE = """
[sources.{name}]
provider = "{name}"
base_url = "{upstream}"
api_key = "{api_key}"
hook_token = "{hook_token}"
deadline = "5m"
{settings}
"""

ACCOUNT = "demo"  # the name of the one API token there is


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and where to look."""


@dataclass(frozen=True)
class Stage:
    """Where everything is while the demo runs; `upstreams` and `hook_urls` by the name of the upstream."""

    folder: Path
    receiver: str
    token: str
    upstreams: dict[str, str]
    hook_urls: dict[str, str]


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def staged(folder: Path, seed: int) -> AsyncIterator[Stage]:
    """Start the upstreams and the receiver, wait until all answer, and stop them at the end."""
    port = free_port()
    receiver = f"http://127.0.0.1:{port}"
    ports = {one.name: free_port() for one in UPSTREAMS}
    urls = {name: f"http://127.0.0.1:{number}" for name, number in ports.items()}
    tokens = {name: secrets.token_urlsafe(24) for name in ports}
    config = folder / "hookledger.toml"
    config.write_text(_configuration(folder, port, urls, tokens))
    async with contextlib.AsyncExitStack() as stack:
        started = {}
        for one in UPSTREAMS:
            options = (
                "--url-ttl", str(URL_TTL), *one.options, "--port", str(ports[one.name]), "--status-5xx", "0.02",
                "--seed", str(seed), "--api-key", API_KEY,
            )  # fmt: skip
            started[one.name] = await stack.enter_async_context(
                _running(folder, one.name, "sandbox", one.name, *options)
            )
        server = await stack.enter_async_context(_running(folder, "hookledger", "--config", str(config), "serve"))
        for name, process in started.items():
            await _until_answers(f"{urls[name]}/_sandbox/quiet", process, folder / f"{name}.log")
        await _until_answers(f"{receiver}/readyz", server, folder / "hookledger.log")
        hooks = {name: f"{receiver}/hooks/{name}?token={token}" for name, token in tokens.items()}
        yield Stage(folder, receiver, await _make_token(config), urls, hooks)


def _configuration(folder: Path, port: int, urls: dict[str, str], tokens: dict[str, str]) -> str:
    parts = [CONFIG.format(folder=folder, port=port)]
    for one in UPSTREAMS:
        parts.append(
            SOURCE.format(
                name=one.name,
                upstream=urls[one.name],
                api_key=API_KEY,
                hook_token=tokens[one.name],
                settings=one.settings,
            )
        )
    return "".join(parts)


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
    return str((await _told(config, "token", "create", ACCOUNT, "--scope", "admin", "--json"))["token"])


async def login_link(stage: Stage) -> str:
    """Return a link that logs one browser in to the dashboard, within a minute."""
    config = stage.folder / "hookledger.toml"
    told = await _told(config, "token", "login-link", ACCOUNT, "--base", stage.receiver, "--json")
    return str(told["link"])


async def _told(config: Path, *words: str) -> dict[str, Any]:
    """Run a command of hookledger's and return the JSON it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "--config", str(config), *words, stdout=subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise DemoFailed(f"`hookledger {' '.join(words[:2])}` failed; see the line above")
    return dict(orjson.loads(printed))
