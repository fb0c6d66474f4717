"""Copies of what was written last, so that the next event of a workflow need not load it again.

A copy is what its maker has committed. Whether it is still true, the row's `version` tells whoever locks a workflow,
and the number of the transaction that wrote it last whoever meets its check.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import orjson

from receiver.ledger import checks, store
from receiver.ledger.checks import Check
from receiver.ledger.evidence import Known
from receiver.ledger.nodes import WorkflowState

Key = tuple[str, str]  # (source, id), or (source, dedupe key)

MOST = 2000  # workflows
LARGEST = 64  # steps, jobs and blobs of one; a larger one is loaded each time
PIECES = 50_000  # of all that is remembered; see `_pieces`. Some 100 MB
KEYS = 20_000  # dedupe keys; upstreams repeat a delivery within minutes, or not at all


@dataclass(frozen=True, slots=True)
class Copy:
    """A workflow, unless it is too large for keeping it, and its check, where that is known too."""

    state: WorkflowState | None
    check: Check | None
    pieces: int = 1


class Recent:
    """The workflows one writer has committed last, and the keys. Belongs to one event loop.

    What a batch knows is offered before its commit, and kept after it.
    """

    def __init__(self, most: int = MOST, keys: int = KEYS, pieces: int = PIECES) -> None:
        self._most, self._most_keys, self._most_pieces = most, keys, pieces
        self._pieces = 0  # of all copies
        self._copies: OrderedDict[Key, Copy] = OrderedDict()  # the one used longest ago first
        self._keys: OrderedDict[Key, Known] = OrderedDict()
        self._checks: dict[Key, Check] = {}
        self._new_keys: Mapping[Key, Known] = {}

    def take(self, keys: Iterable[Key]) -> dict[Key, WorkflowState]:
        """Take copies out: whoever changes one puts it back when, and only when, that is committed."""
        return {key: copy.state for key, copy in self.take_whole(keys).items() if copy.state is not None}

    def take_whole(self, keys: Iterable[Key]) -> dict[Key, Copy]:
        """Take copies out, as `take` does, with their checks."""
        self._checks, self._new_keys = {}, {}
        found = {key: copy for key in keys if (copy := self._copies.pop(key, None)) is not None}
        self._pieces -= sum([copy.pieces for copy in found.values()])
        return found

    def put_back(self, copies: Mapping[Key, Copy]) -> None:
        """Put copies back that nobody has changed."""
        for key, copy in copies.items():
            self._put(key, copy)

    def known(self, keys: Iterable[Key]) -> dict[Key, WorkflowState]:
        """Return copies to decide by, which stay where they are: nobody may change them."""
        copies = ((key, self._copies.get(key)) for key in keys)
        return {key: copy.state for key, copy in copies if copy is not None and copy.state is not None}

    def lacks(self, key: Key) -> bool:
        """Whether a workflow is remembered only in part, so that the database has to be asked."""
        copy = self._copies.get(key)
        return copy is not None and copy.check is None

    def met(self, key: Key) -> Known | None:
        """Return what a dedupe key stood for when it was met last; None when that is not remembered."""
        return self._keys.get(key)

    def offer(
        self, found: Mapping[Key, Check], keys: Mapping[Key, Known], disputed: Collection[Key] = frozenset()
    ) -> None:
        """Say what a batch knows of checks and keys. `disputed` workflows have something open that a copy lacks."""
        self._checks = {
            key: check for key, check in found.items() if check.written_by is not None and key not in disputed
        }
        self._new_keys = keys

    def keep(self, states: Iterable[WorkflowState | None]) -> None:
        """Keep what has just been committed."""
        for state in {id(one): one for one in states if one is not None}.values():
            key = (state.source, state.id)
            if state.weight > LARGEST:
                self._put(key, Copy(None, None))
                continue
            store.settle(state)
            check = self._checks.get(key)
            if check is not None:
                checks.settle(check)
            self._put(key, Copy(state, check, _pieces(state)))
        for key, known in self._new_keys.items():
            self._keys[key] = known
            known.new = False
        self._checks, self._new_keys = {}, {}
        while len(self._copies) > self._most or self._pieces > self._most_pieces:
            self._pieces -= self._copies.popitem(last=False)[1].pieces
        while len(self._keys) > self._most_keys:
            self._keys.popitem(last=False)

    def _put(self, key: Key, copy: Copy) -> None:
        before = self._copies.get(key)
        self._copies[key] = copy
        self._pieces += copy.pieces if before is None else copy.pieces - before.pieces


def _pieces(state: WorkflowState) -> int:
    """Return how much memory a copy takes, in pieces of roughly 2 KiB: the workflow, and each step, job and file, is
    one, and each KiB of what is told of them."""
    if state.bulk < 0:
        facts = [node.raw_facts for node in (state.node, *state.children())]
        told = sum([len(one if type(one) is str else orjson.dumps(one)) for one in facts])
        state.bulk = told + len(orjson.dumps(state.about))
    return 1 + state.weight + state.bulk // 1024
