"""What the answers of a source say about the source itself: upstream is down, or it does not know us any more. Pure.

An expired key makes some upstreams answer 404 or 403 to everything. Believed one by one, that would tell a person of
every workflow there is, or end them all (`on_gone = "expire"`). So when too many workflows are suddenly unknown the
source is stopped, and nothing that came of it is believed: a probe each half minute shows when all is well again. An
upstream that answers nothing at all is left alone too, with probes that come ever more rarely.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from receiver.ledger.entries import Answer

BRAKE = "brake"
UNREACHABLE = "unreachable"
# Workflows that must have been lost before a share of them says anything.
SAMPLE = 5
# The share is taken of this many answers: few, because each of them is a request to an upstream that is in trouble.
_RECENT = 2 * SAMPLE
# One or two that are lost one after the other are believed at once.
_BELIEVED = 2
# Looks at as many different workflows that failed one after the other, with no answer between them.
_FAILED = 8
# Once a probe has got through, 404s are what they seem for so long.
_MOST_HELD = 10_000  # workflows that are to be asked about again, remembered by this process
BELIEVED_FOR = timedelta(minutes=5)
_FIRST_PROBE, _LAST_PROBE = 2.0, 30.0


@dataclass(frozen=True, slots=True)
class Trip:
    """Why a source is to be stopped: `because` is kept with the source, `note` is for a person."""

    because: str
    note: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to make of one answer. `hold` says that it is not to be believed; it will be asked for again."""

    hold: bool = False
    trip: Trip | None = None


class Health:
    """The latest answers of one source, as this process has seen them. `share` is the setting `brake`, 1 for never."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._recent: deque[bool] = deque(maxlen=_RECENT)  # whether each was lost
        self._lost: set[str] = set()  # one after the other, with nothing shown between them
        self._held: set[str] = set()
        self._failed: set[str] = set()
        self.believed_until: datetime | None = None

    def judge(self, workflow_id: str, answer: Answer, now: datetime, *, first: bool) -> Verdict:
        """Take in one answer about a workflow the ledger knows; `first` says that the one before was not like it."""
        if answer is Answer.SHOWN:
            self._held.discard(workflow_id)
            self._recent.append(False)
            self._forget()
            return Verdict()
        if answer is Answer.BUSY:
            self._failed.add(workflow_id)
            if len(self._failed) >= _FAILED:
                self._forget()
                return Verdict(trip=Trip(UNREACHABLE, f"{_FAILED} looks in a row met no answer"))
            return Verdict()
        self._failed.clear()
        if answer not in (Answer.GONE, Answer.REFUSED) or not first or self._believes(now):
            return Verdict()
        return self._suspect(workflow_id)

    def _suspect(self, workflow_id: str) -> Verdict:
        self._recent.append(True)
        again = workflow_id in self._held
        self._lost.add(workflow_id)
        lost, seen = sum(self._recent), len(self._recent)
        if len(self._lost) >= SAMPLE and lost > self._share * seen:
            self._recent.clear()
            self._forget()
            note = f"{lost} of the last {seen} workflows looked at are suddenly unknown or refused: is the key right?"
            return Verdict(hold=True, trip=Trip(BRAKE, note))
        if len(self._lost) <= _BELIEVED or again:
            self._held.discard(workflow_id)
            return Verdict()
        if len(self._held) >= _MOST_HELD:
            self._held.clear()  # most were never asked about again; the others are once more
        self._held.add(workflow_id)  # it looks like more than this one: ask again before it is believed
        return Verdict(hold=True)

    def _believes(self, now: datetime) -> bool:
        return self._share >= 1 or (self.believed_until is not None and now < self.believed_until)

    def _forget(self) -> None:
        self._lost.clear()
        self._failed.clear()


def probe_after(because: str, failed: int, rng: Random) -> timedelta:
    """Return how long to wait before the next probe of a stopped source, after so many that failed.

    An upstream that is down is tried again soon and then ever more rarely, at instants that no two processes share.
    """
    if because != UNREACHABLE:
        return timedelta(seconds=_LAST_PROBE)
    longest = min(_FIRST_PROBE * 2.0 ** min(failed, 10), _LAST_PROBE)
    return timedelta(seconds=rng.uniform(longest / 2, longest))
