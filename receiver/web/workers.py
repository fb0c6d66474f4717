"""Several processes on one listening socket: forks them, starts anew what dies, ends them all when told."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from receiver.logs import log_event

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
AT_LEAST = 2.0  # seconds a worker should live; one that does not is started anew only after as long again
LAST_WORD = 60.0  # seconds after which a worker that was told to end is killed

# What a worker does: it gets its number and a file that ends when its parent does, and returns its exit code.
Work = Callable[[int, int], int]


@dataclass
class Workers:
    """A set of forked processes. Must be made in a process without threads or a running event loop."""

    count: int
    work: Work
    _alive: dict[int, tuple[int, float]] = field(default_factory=dict)  # pid -> (number, started at)
    _lifeline: tuple[int, int] = (-1, -1)

    def run(self, on_stop: Callable[[], object]) -> int:
        """Keep the workers running until SIGTERM or SIGINT; return the exit code.

        `on_stop` is called once, before the workers are told. A worker that says 2 (it cannot be started like this)
        ends them all with that code.
        """
        # The workers hold the reading end: when this process dies, however, they notice and end.
        self._lifeline = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        code = 0
        try:
            for number in range(self.count):
                self._start(number)
            code = self._watch()
        finally:
            on_stop()
            code = max(code, self._end())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            for end in self._lifeline:
                os.close(end)
        return code

    def _start(self, number: int) -> None:
        pid = os.fork()
        if pid:
            self._alive[pid] = (number, time.monotonic())
            return
        code = 1
        try:
            os.close(self._lifeline[1])
            # Ctrl-C reaches the whole group; the parent passes it on in its own time.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # Until the server takes it, nothing is in flight: ending at once is ending well.
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            code = self.work(number, self._lifeline[0])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as error:  # noqa: BLE001 - a fork must end here and nowhere else
            log_event("worker failed", level="error", error=error, worker=number)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _watch(self) -> int:
        """Return when told to end, with 0, or when a worker cannot be started, with its code."""
        late: dict[int, float] = {}  # number -> when to start it anew
        while True:
            got = signal.sigtimedwait(SIGNALS, 0.5 if late else 3600)
            if got is not None and got.si_signo in (signal.SIGTERM, signal.SIGINT):
                return 0
            for number, started, code in self._reap():
                if code == 2:
                    return code
                log_event("worker died", level="error", worker=number, code=code)
                late[number] = max(time.monotonic(), started + AT_LEAST)
            for number in [number for number, at in late.items() if at <= time.monotonic()]:
                del late[number]
                self._start(number)

    def _reap(self) -> list[tuple[int, float, int]]:
        dead = []
        for pid in list(self._alive):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                dead.append((*self._alive.pop(pid), os.waitstatus_to_exitcode(status)))
        return dead

    def _end(self) -> int:
        """Tell all workers to end and wait for them; return 1 when one did not end well."""
        for pid in self._alive:
            os.kill(pid, signal.SIGTERM)
        ends = time.monotonic() + LAST_WORD
        code = 0
        while self._alive:
            signal.sigtimedwait([signal.SIGCHLD], 0.2)
            for number, _, said in self._reap():
                if said != 0:
                    log_event("worker died", level="error", worker=number, code=said)
                    code = 1
            if time.monotonic() > ends:
                for pid in self._alive:
                    os.kill(pid, signal.SIGKILL)
                ends = float("inf")
        return code
