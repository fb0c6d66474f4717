"""How many connections the process has file descriptors for."""

from __future__ import annotations

import resource

from receiver.logs import log_event

RESERVED = 128  # descriptors for all else: database connections, the log, pipes, a worker's lifeline
FEWEST = 16  # connections, however low the limit is


def connections_for(wanted: int) -> int:
    """Return how many connections may be open: those wanted, or fewer when the limit of open files (`ulimit -n`) does
    not allow them, which a line in the log says. The soft limit is raised first, as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED
    if 0 <= soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    fewer = max(FEWEST, soft - RESERVED)
    log_event(
        "few files",
        level="warning",
        limit=soft,
        connections=fewer,
        problem=f"server.max_connections = {wanted} needs {needed} open files and this process may have {soft}:"
        f" {fewer} connections will be taken; raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower the setting",
    )
    return fewer
