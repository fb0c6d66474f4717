"""A PostgreSQL of a test's own, at its default durability, that may be killed and started again."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from receiver.ledger import migrate
from receiver.ledger.database import Database

PATIENCE = 30.0
USER = "pgserver"  # who runs it when we are root, which PostgreSQL refuses; the shared server has made this account


def _gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@dataclass
class MortalPostgres:
    """One server over a socket in its folder. `url` is where its one database is."""

    programs: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)  # beside the test's own, from the next start on
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the ledger's database is."""
        return f"postgresql://postgres:@/postgres?host={self.folder}"

    @property
    def alive(self) -> bool:
        """Whether its first process runs."""
        return self._process is not None and self._process.poll() is None

    def make(self) -> None:
        """Lay out the files of a new server."""
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        words = ("--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres", "-D", str(self.data))
        self._run("initdb", *words)

    def copy_of(self, primary: MortalPostgres) -> None:
        """Lay out the files of a replica of a running one, as that is now; it is promoted when it is started."""
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._run("pg_basebackup", "--checkpoint=fast", "--no-sync", "-U", "postgres", "-h", str(primary.folder),
                  "-D", str(self.data))  # fmt: skip
        (self.data / "recovery.signal").touch()
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'false'\n")  # there is nothing to recover but what came along

    async def start(self) -> None:
        """Start it, and return when it takes connections."""
        assert not self.alive
        self._spawn()
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                connection = await asyncpg.connect(self.url, timeout=5)
                try:
                    takes_writes = not await connection.fetchval("SELECT pg_is_in_recovery()")
                finally:
                    await connection.close()
            except (OSError, asyncpg.PostgresError, TimeoutError):
                assert self.alive, f"it ended by itself: {(self.folder / 'log').read_text()[-800:]}"
                assert time.monotonic() < ends, "it does not start"
            else:
                if takes_writes:
                    return
            await asyncio.sleep(0.05)

    def _spawn(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-k", self.folder, "-h", ""],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, user=self._user,
                env={**os.environ, **self.environment},
            )  # fmt: skip

    async def kill(self) -> None:
        """SIGKILL for all of its processes, as when the machine is lost."""
        family = self._family()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._until_gone(family)

    async def crash(self) -> None:
        """SIGQUIT: it drops everything at once, and must recover when it is started again."""
        await self._end(signal.SIGQUIT)

    async def stop(self) -> None:
        """SIGINT: it tells everybody and ends in good order."""
        await self._end(signal.SIGINT)

    def freeze(self) -> None:
        """SIGSTOP for all of its processes: it is there, and answers nothing."""
        for pid in self._family():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        for pid in self._family():
            os.kill(pid, signal.SIGCONT)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def _user(self) -> str | None:
        return pwd.getpwnam(USER).pw_name if os.geteuid() == 0 else None

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self.programs / program, *words], cwd=self.folder, user=self._user, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def _family(self) -> list[int]:
        if not self.alive:
            return []
        assert self._process is not None
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    async def _end(self, number: signal.Signals) -> None:
        family = self._family()
        if family:
            os.kill(family[0], number)
            await self._until_gone(family)

    async def _until_gone(self, family: list[int]) -> None:
        ends = time.monotonic() + PATIENCE
        while not all(map(_gone, family)):
            assert time.monotonic() < ends, "it does not end"
            await asyncio.sleep(0.01)
        if self._process is not None:
            self._process.wait()


@asynccontextmanager
async def mortal_postgres(programs: Path) -> AsyncIterator[MortalPostgres]:
    """A running server with a migrated ledger in it; all of it is gone afterwards."""
    # Not below pytest's folders: a socket's path may have a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="hookledger-mortal-"))
    server = MortalPostgres(programs, folder)
    try:
        server.make()
        await server.start()
        database = await Database.open(server.url)
        try:
            await migrate.upgrade(database)
        finally:
            await database.close()
        yield server
    finally:
        await server.kill()
        shutil.rmtree(folder)
