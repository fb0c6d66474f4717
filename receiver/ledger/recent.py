"""Copies of the workflows that were written last, so that the next event of one need not load it again.

A copy is what its maker has committed; whether it is still true, the row's `version` tells whoever locks it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from receiver.ledger import store
from receiver.ledger.nodes import WorkflowState

Key = tuple[str, str]  # (source, id)

MOST = 1000  # workflows
LARGEST = 64  # steps, jobs and blobs of one; a larger one is loaded each time


class Recent:
    """The workflows one writer has committed last. Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._states: OrderedDict[Key, WorkflowState] = OrderedDict()  # the one used longest ago first

    def take(self, keys: Iterable[Key]) -> dict[Key, WorkflowState]:
        """Take copies out: whoever changes one puts it back when, and only when, that is committed."""
        return {key: state for key in keys if (state := self._states.pop(key, None)) is not None}

    def known(self, keys: Iterable[Key]) -> dict[Key, WorkflowState]:
        """Return copies to decide by, which stay where they are: nobody may change them."""
        return {key: state for key in keys if (state := self._states.get(key)) is not None}

    def keep(self, states: Iterable[WorkflowState | None]) -> None:
        """Keep what has just been committed."""
        for state in {id(one): one for one in states if one is not None}.values():
            if len(state.steps) + len(state.jobs) + len(state.blobs) <= LARGEST:
                store.settle(state)
                self._states[state.source, state.id] = state
        while len(self._states) > self._most:
            self._states.popitem(last=False)
