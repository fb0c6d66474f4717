"""What the passing of time is the cause of: attention that opens and closes by the clock. Decides; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from receiver.ledger.attention import Concern
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.schedule import deadline_of, uncollected_from


@dataclass(frozen=True, slots=True)
class Told:
    """The kinds of attention that are `open` for a workflow from now on, and what to open and close for that."""

    open: AbstractSet[str]
    raised: list[Concern] = field(default_factory=list)
    closed: list[tuple[str, ...]] = field(default_factory=list)


def by_the_clock(
    state: WorkflowState, policy: Policy, kinds: AbstractSet[str], copies: Mapping[str, str], now: datetime
) -> Told:
    """Return what changes of a workflow's attention: `kinds` are open, `copies` say how those of its files stand."""
    closed: list[tuple[str, ...]] = []
    if state.node.status.terminal:
        if kinds & {"overdue", "gone"}:
            closed.append(("overdue", "gone"))
        from_then, kind = uncollected_from(state, policy, copies), "uncollected"
    else:
        from_then, kind = deadline_of(state, policy), "overdue"
    if kind == "uncollected" and kind in kinds and from_then is not None and now < from_then:
        return Told(kinds - {kind}, [], [*closed, (kind,)])  # a renewal put upstream's deletion off
    if from_then is None or now < from_then or kind in kinds:
        return Told(kinds, [], closed)
    return Told(kinds | {kind}, [Concern("workflow", state.source, state.id, kind, state.pk)], closed)
