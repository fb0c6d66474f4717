"""What the kernel says of processes: CPU time, memory, bytes written. Linux only, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name: [0] is the state, [1] the parent (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    """Return the CPU time a process has used, in its own code and in the kernel, and on demand its ended children's."""
    fields = _stat(pid)
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / _TICK


def family(pid: int) -> list[int]:
    """Return a process and its children: PostgreSQL's postmaster and every process of that server."""
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int(_stat(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def family_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of its children, and of those that ended."""
    total = cpu_seconds(pid, ended_children=True)
    for child in family(pid)[1:]:
        try:
            total += cpu_seconds(child)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile; what it used is missing here once and its parent's from now on
    return total


def memory(pid: int) -> float:
    """Return the resident memory of a process and its children now, in MiB."""
    return sum(_each(pid, _resident)) / 1024


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    # A process that has just ended has no such line.
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def written_bytes(pid: int) -> int:
    """Return how many bytes a process and its children have handed to `write` calls, pipes and sockets included.

    PostgreSQL and libpq speak to sockets by `send`, which is not counted. The kernel's `write_bytes` would be what we
    want and is of no use: with large folios it counts a whole folio for each small write into it, 30 times too much for
    a WAL. What an ended child has written is in its parent's figure.
    """
    return sum(_each(pid, _written))


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def _each(pid: int, figure: Callable[[int], int]) -> Iterator[int]:
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a child that has ended meanwhile
            yield figure(one)


def busy_seconds() -> float:
    """Return the CPU time all processes of this machine have used together (proc(5): all of `cpu` but idle, iowait)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICK


def cores() -> int:
    """Return how many cores all of this shares."""
    return len(os.sched_getaffinity(0))
