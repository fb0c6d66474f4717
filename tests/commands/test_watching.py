"""`list --watch` and `show --watch`: what is on the screen stays true."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from receiver.ledger.database import Database
from receiver.ledger.records import Trust
from tests.commands.conftest import Command
from tests.ledger.applying import delivery, put, saw
from tests.web.serving import environment


@asynccontextmanager
async def watching(database_url: str, folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", *words, "--watch", cwd=folder, env=environment(database_url),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(process: asyncio.subprocess.Process, *words: str) -> None:
    """Read what is drawn until a line holds all of these words."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while line := (await process.stdout.readline()).decode():
            if all(word in line for word in words):
                return
    raise AssertionError(f"it ended without {words}")


async def test_a_list_that_is_watched_shows_what_happens_meanwhile(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await put(database, delivery(0, saw("processing"), wf="wf-1"))
    async with watching(database_url, tmp_path, "list") as process:
        await until(process, "wf-1", "processing")
        await put(database, delivery(1, saw("succeeded"), wf="wf-1"), delivery(1, saw("scheduled"), wf="wf-2"))
        await until(process, "wf-2", "scheduled")
        await until(process, "wf-1", "succeeded")


async def test_a_workflow_is_watched_until_its_ending_is_confirmed(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await put(database, delivery(0, saw("processing"), wf="wf-1"))
    async with watching(database_url, tmp_path, "show", "civ", "wf-1") as process:
        await until(process, "status", "processing")
        await put(database, delivery(1, saw("failed"), wf="wf-1", trust=Trust.SIGNED))
        await until(process, "status", "failed")
        async with asyncio.timeout(20):
            assert await process.wait() == 0


def test_what_is_for_a_program_is_not_watched(hookledger: Command) -> None:
    done = hookledger("list", "--watch", "--json")
    assert (done.code, "/v1/stream" in done.err) == (2, True)
