"""A disk that fails with EIO when it is told to, for programs that are started with it: see failing_disk.c."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_SOURCE = Path(__file__).with_suffix(".c")
What = Literal["sync", "write"]


@dataclass(frozen=True)
class FailingDisk:
    """`orders` holds what fails, a file each; it may be read by every user."""

    orders: Path

    def environment(self, below: Path) -> dict[str, str]:
        """What a program is to be started with so that what it writes below a folder may fail."""
        return {
            "LD_PRELOAD": str(self.orders / "failing_disk.so"),
            "FAILING_DISK_ORDERS": str(self.orders),
            "FAILING_DISK_BELOW": str(below),
        }

    def fail(self, what: What) -> None:
        """From now on fsync, or each write, fails."""
        (self.orders / what).touch()

    def mend(self) -> None:
        """Everything works again."""
        for what in ("sync", "write"):
            (self.orders / what).unlink(missing_ok=True)


@contextmanager
def failing_disk() -> Iterator[FailingDisk]:
    """Make one, sound as yet."""
    folder = Path(tempfile.mkdtemp(prefix="hookledger-disk-"))
    try:
        folder.chmod(0o755)
        words = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(folder / "failing_disk.so"), str(_SOURCE), "-ldl"]
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        yield FailingDisk(folder)
    finally:
        shutil.rmtree(folder)
