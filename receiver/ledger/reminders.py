"""What the passing of time is the cause of: attention that opens and closes by the clock. Decides; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from receiver.ledger.attention import Concern
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.schedule import deadline_of, is_between, uncollected_between


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
    ended = state.node.status.terminal
    over = kinds & {"overdue", "gone"} if ended else kinds & {"uncollected"}
    kind, true_now = "overdue", now >= deadline_of(state, policy)
    if ended:
        kind, true_now = "uncollected", is_between(uncollected_between(state, policy, copies), now)
        if kind in kinds and not true_now:
            over = over | {kind}  # upstream put its deletion off, or has deleted them
    closed = [tuple(sorted(over))] if over else []
    raised = [Concern("workflow", state.source, state.id, kind, state.pk)] if true_now and kind not in kinds else []
    return Told((kinds - over) | {one.kind for one in raised}, raised, closed)
