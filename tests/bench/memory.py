"""How much memory a server holds while it is under load, looked at once a second."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Self

from tests.bench import machine

EVERY = 1.0  # seconds


class Watch:
    """Notes (seconds of load, MiB) while inside, beginning at `since` seconds."""

    def __init__(self, pid: int, since: float, notes: list[tuple[float, float]]) -> None:
        self._pid, self._since, self._notes = pid, since, notes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        began = time.monotonic()
        over = False
        while not over:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended, which others will tell
                self._notes.append((self._since + time.monotonic() - began, machine.memory(self._pid)))
            over = self._over.wait(EVERY)
