"""`--watch` on a real terminal: never more lines than it has, the newest first, and what is shown stays true."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import shutil
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
async def watching(
    database_url: str, folder: Path, *words: str, lines: int = 12, columns: int = 100
) -> AsyncIterator[Screen]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", *words, "--watch", cwd=folder,
        env={**environment(database_url), "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)},
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


async def test_a_long_id_gives_way_to_the_status_and_a_narrow_screen_to_the_id(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    ids = ["8484131-20261126170045029", "wf-" + "long" * 40]
    await put(database, *(delivery(n, saw("processing"), wf=name) for n, name in enumerate(ids)))
    for columns, also in ((44, None), (80, "seen"), (200, "next look")):
        async with watching(database_url, tmp_path, "list", columns=columns) as screen:
            picture = await screen.until("processing", ids[0])
            assert max(map(len, picture)) <= columns - len("^C")
            assert also is None or any(also in line for line in picture)
            assert any("processing  wf-long" in line for line in picture)


async def test_what_is_shown_is_of_the_file_that_is_there_now(sqlite_url: str, tmp_path: Path) -> None:
    file, backup = Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "backup.db"
    for second, status in enumerate(("processing", "succeeded")):
        ledger = await Database.open(sqlite_url)
        await put(ledger, delivery(second, saw(status), wf="wf-1"))
        await ledger.close()
        if status == "processing":
            shutil.copy(file, backup)
    async with watching(sqlite_url, tmp_path, "list") as screen:
        await screen.until("wf-1", "succeeded")
        shutil.move(file, tmp_path / "away.db")
        await screen.until("cannot be reached")
        shutil.move(backup, file)
        await screen.until("wf-1", "processing")
        assert screen.process.returncode is None
