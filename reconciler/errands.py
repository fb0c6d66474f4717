"""What one claim is going to send: each errand is one request, for one check or for many. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.budgets import Counted
from reconciler.claiming import Task
from reconciler.many import joins
from reconciler.pace import Slots
from reconciler.plan import GiveUp


@dataclass(frozen=True, slots=True)
class Errand:
    """Checks of one source that one request answers for. `token` is what its budget knows the claim by, '' for none.

    `probe` says that the source was paused when it was claimed.
    """

    tasks: tuple[Task, ...]
    token: str = ""
    probe: bool = False

    @property
    def source(self) -> str:
        """The source's name."""
        return self.tasks[0].claim.source

    @property
    def hint(self) -> bool:
        """Whether the request serves nothing but hints."""
        return all(task.hint for task in self.tasks)

    @property
    def retry(self) -> bool:
        """Whether everything it asks about has failed before in this round."""
        return all(task.retry for task in self.tasks)

    @property
    def sends(self) -> bool:
        """Whether there is a request to send: giving up needs none."""
        return not isinstance(self.tasks[0].plan, GiveUp)


def errands_of(
    tasks: Sequence[Task], slots: Slots, *, token: str = "", probe: bool = False
) -> tuple[list[Errand], list[Task]]:
    """Return the requests to make for claimed checks of one source, and the checks there is no room for.

    Two and more that one request may answer for go together. What somebody waits for comes first.
    """
    pool = [task for task in tasks if joins(task)][: slots.bulk] if slots.bulk > 1 else []
    if len(pool) < 2:
        pool = []
    pooled = {id(task) for task in pool}
    errands = [Errand(tuple(pool), token, probe)] if pool else []
    surplus: list[Task] = []
    left = slots.total - len(errands)
    singles = [task for task in tasks if id(task) not in pooled]
    for task in sorted(singles, key=lambda one: one.claim.lane != "interactive"):
        errand = Errand((task,), token, probe)
        if errand.sends and left <= 0:
            surplus.append(task)
            continue
        left -= errand.sends
        errands.append(errand)
    return errands, surplus


def counted(errands: Sequence[Errand]) -> Counted:
    """Return how many requests these are."""
    sending = [errand for errand in errands if errand.sends]
    return Counted(len(sending), sum(errand.hint for errand in sending))
