"""A disk that can be full: a file system in memory of its own where that is allowed, else a limit on file sizes."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass
class SmallDisk:
    """`folder` is on it. `fill` leaves no room, `free` gives it back."""

    folder: Path
    mounted: bool
    writers: Callable[[], list[int]]  # the processes that write here

    def fill(self) -> None:
        """Take all the room that is left, at once."""
        if not self.mounted:
            self._limit(1)
            return
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        ballast.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        """Give the room back."""
        if not self.mounted:
            self._limit(resource.RLIM_INFINITY)
            return
        (self.folder / "ballast").unlink(missing_ok=True)

    def _limit(self, size: int) -> None:
        # Python ignores SIGXFSZ, so that a write beyond the limit fails with EFBIG.
        for pid in self.writers():
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size if size > 0 else hard, hard))


def may_mount() -> bool:
    """Whether this process looks as if it were allowed to mount something."""
    return os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size: int, writers: Callable[[], list[int]]) -> Iterator[SmallDisk]:
    """Make one of `size` bytes in an empty folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "hookledger-test", str(folder)]
    mounted = may_mount() and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(folder, mounted, writers)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
