"""The status table (R1). Nothing else in the project compares statuses."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a workflow, a step or a job is. The last four are terminal."""

    UNASSIGNED = "unassigned"
    PREPARING = "preparing"
    SCHEDULED = "scheduled"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"

    @property
    def rank(self) -> int:
        """How far along this status is: 0 to 3, where 3 is an ending."""
        return RANK[self]

    @property
    def terminal(self) -> bool:
        """Whether this status is an ending."""
        return self in TERMINAL


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.EXPIRED, Status.CANCELED})

RANK = {
    Status.UNASSIGNED: 0,
    Status.PREPARING: 1,
    Status.SCHEDULED: 1,
    Status.PROCESSING: 2,
    Status.SUCCEEDED: 3,
    Status.FAILED: 3,
    Status.EXPIRED: 3,
    Status.CANCELED: 3,
}


class Move(StrEnum):
    """What an event that names one status means for a resource that has another."""

    ADVANCE = "advance"  # forward by rank: applied
    REPEAT = "repeat"  # the same status again
    SIDEWAYS = "sideways"  # preparing after scheduled: only the upstream's own clock can tell (R3)
    LATE = "late"  # behind what is known: changes no status
    DISPUTE = "dispute"  # another ending: a contradiction (R12)


def _move(old: Status, new: Status) -> Move:
    if new is old:
        return Move.REPEAT
    if old.terminal:
        return Move.DISPUTE if new.terminal else Move.LATE
    if new.rank > old.rank:
        return Move.ADVANCE
    if new.rank < old.rank:
        return Move.LATE
    # Same rank, both alive: scheduled beats preparing unless both events carry upstream's clock.
    return Move.ADVANCE if new is Status.SCHEDULED else Move.SIDEWAYS


MOVES: dict[tuple[Status, Status], Move] = {(old, new): _move(old, new) for old in Status for new in Status}


def move(old: Status, new: Status) -> Move:
    """Return what an event naming `new` means for a resource in `old`."""
    return MOVES[old, new]


def settle(parent: Status, child: Status) -> tuple[Status, Status]:
    """Return the endings to infer for an open (step, job) whose parent ended in `parent` (R8).

    `child` is the last status that evidence gave the child. Raises ValueError for a parent that is alive.
    """
    if not parent.terminal:
        raise ValueError(f"nothing can be inferred from a parent that is {parent}")
    if parent is Status.SUCCEEDED:
        return Status.SUCCEEDED, Status.CANCELED
    if parent is Status.FAILED:
        ending = Status.FAILED if child is Status.PROCESSING else Status.CANCELED
        return ending, ending
    return parent, parent
