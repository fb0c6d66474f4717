"""What has been claimed and waits for a place: a moment's work, so that no place is empty while a claim is made."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime

from reconciler.claiming import WISHES
from reconciler.errands import Errand
from reconciler.source import Source

# Half the time in which a claimed request is to be sent (budgets.SEND_WITHIN); then somebody else may be faster.
_WAITS_AT_MOST = 2.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request to send; `at` is the ledger's time of its claim, `since` this machine's monotonic clock."""

    errand: Errand
    at: datetime
    since: float


class Ready:
    """The requests of one source that wait for a place, those somebody waits for first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._queue: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, errand: Errand, at: datetime, since: float) -> None:
        """Take in what was claimed."""
        self._source.pace.claimed(hint=errand.hint, retry=errand.retry)
        waiting = Waiting(errand, at, since)
        if errand.tasks[0].claim.lane == WISHES:
            self._queue.appendleft(waiting)
        else:
            self._queue.append(waiting)

    def next(self, since: float) -> Waiting | None:
        """Return what gets the next place, None when there is no place or nothing may be sent."""
        if not self._queue or not self._source.pace.free(since):
            return None
        if not self._queue[0].errand.probe and self._source.stopped(since):
            return None
        self._source.pace.started()
        return self._queue.popleft()

    def overdue(self, since: float) -> list[Errand]:
        """Take out what has waited too long, or waits in vain: its source has been stopped meanwhile."""
        every = self._source.stopped(since)
        kept: deque[Waiting] = deque()
        left: list[Errand] = []
        for waiting in self._queue:
            if not waiting.errand.probe and (every or since - waiting.since > _WAITS_AT_MOST):
                left.append(waiting.errand)
                self._source.pace.returned(hint=waiting.errand.hint, retry=waiting.errand.retry)
            else:
                kept.append(waiting)
        self._queue = kept
        return left
