"""`--watch` on a real terminal: never more lines than it has, the newest first, and what is shown stays true."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from receiver.ledger.database import Database
from receiver.ledger.records import Trust
from tests.ledger.applying import delivery, put, saw
from tests.web.serving import environment

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_AWAY = "\x1b[2K"  # a line that is wiped before the next picture


class Screen:
    """A terminal with a program in it, and everything that was written to it."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int) -> None:
        self.process, self._terminal, self.written = process, terminal, ""
        asyncio.get_running_loop().add_reader(terminal, self._read)

    def _read(self) -> None:
        try:
            self.written += os.read(self._terminal, 65536).decode("utf-8", "replace")
        except OSError:  # the other end was closed
            asyncio.get_running_loop().remove_reader(self._terminal)

    @property
    def picture(self) -> list[str]:
        """The lines of the newest picture."""
        last = self.written.rpartition(_AWAY)[2]
        return [line.rstrip() for line in _CODES.sub("", last).replace("\r", "").split("\n")]

    async def until(self, *words: str) -> list[str]:
        """Wait for a line with all of these words."""
        async with asyncio.timeout(30):
            while not any(all(word in line for word in words) for line in self.picture):  # noqa: ASYNC110 - a terminal
                await asyncio.sleep(0.05)
        return self.picture


@asynccontextmanager
async def watching(database_url: str, folder: Path, *words: str, lines: int = 12) -> AsyncIterator[Screen]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", *words, "--watch", cwd=folder,
        env={**environment(database_url), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": str(lines)},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    screen = Screen(process, ours)
    try:
        yield screen
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


async def test_a_list_longer_than_the_screen_shows_the_newest_in_place(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await put(database, *(delivery(n, saw("processing"), wf=f"wf-{n:02}") for n in range(30)))
    async with watching(database_url, tmp_path, "list") as screen:
        picture = await screen.until("wf-29", "processing")
        assert "the newest of more" in " ".join(picture)
        assert len(picture) <= 12
        await put(database, delivery(40, saw("succeeded"), wf="wf-29"))
        picture = await screen.until("wf-29", "succeeded?")
        assert len(picture) <= 12
        assert not any("wf-00" in line for line in picture)
        screen.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            await screen.process.wait()
    assert "Traceback" not in screen.written
    assert screen.written.rstrip().endswith("\x1b[?25h"), "the cursor is there again"


async def test_one_workflow_stands_whole_on_the_screen_until_its_ending_is_confirmed(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await put(database, delivery(0, saw("scheduled"), wf="wf-1"), delivery(1, saw("processing"), wf="wf-1"))
    async with watching(database_url, tmp_path, "show", "civ", "wf-1") as screen:
        await screen.until("status", "processing")
        await put(database, delivery(2, saw("failed"), wf="wf-1", trust=Trust.SIGNED))
        async with asyncio.timeout(30):
            assert await screen.process.wait() == 0
        picture = await screen.until("status", "failed")
    assert len(picture) <= 12
    moves = [line for line in picture if line.strip().startswith(("+", "-"))]
    assert "failed" in moves[0], "the newest comes first"
