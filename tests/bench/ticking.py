"""A timer that is right to some ten microseconds: uvloop's own counts whole milliseconds. Linux only (timerfd)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable

_MONOTONIC, _ABSOLUTE, _CLOSE_ON_EXEC, _NONBLOCK = 1, 1, 0o2000000, 0o4000
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    """`struct itimerspec`: an interval, which is not used here, and an instant."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    )


class Ticker:
    """Calls `tick` in the running event loop at the instant last given to `at` (of `time.perf_counter`)."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._file = _LIBC.timerfd_create(_MONOTONIC, _CLOSE_ON_EXEC | _NONBLOCK)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._fired)

    def at(self, instant: float) -> None:
        """Set the next instant; one in the past comes at once."""
        nanoseconds = max(int(instant * 1e9), 1)
        spec = _Spec(0, 0, nanoseconds // 10**9, nanoseconds % 10**9)
        if _LIBC.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        """Let go of the timer."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _fired(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, 8)
        self._tick()
