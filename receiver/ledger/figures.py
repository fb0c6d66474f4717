"""Figures kept as the ledger changes: what one batch adds to them, as one row that no other writer waits for.

A figure is a sum of what each workflow, delivery and dispute contributes, so it is right by construction: a batch
writes the difference between what its workflows contributed before and what they contribute now. `tallies` folds these
rows together and reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from receiver.ledger.derived import figure_deltas
from receiver.ledger.entries import Entry, Result
from receiver.ledger.nodes import Node, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, TransitionKind
from receiver.ledger.states import Status
from receiver.ledger.together import Together

# (source, minute): seconds since 1970, or TOTAL for what has no time.
Place = tuple[str, int]
Amounts = dict[Place, dict[str, int]]
# What of a workflow its figures depend on: run, status, finished_at, finished_via, completed_at, ending_delivered_at.
Mark = tuple[int, Status, datetime | None, str | None, datetime | None, datetime | None]

TOTAL = 0
# An ending that no delivery named within upstream's horizon and this long is missed (R18).
PATIENCE = timedelta(minutes=5)
# Detection lags are counted in buckets, each half again as wide as the one before; the first ends at LEAST seconds.
LEAST, WIDER = 0.01, 1.5
_LOG = math.log(WIDER)
_COUNTED = {
    TransitionKind.CONTRADICTION: "contradictions",
    TransitionKind.RETRACTED: "retracted",
    TransitionKind.CORRECTED: "corrected",
}


def mark(state: WorkflowState) -> Mark:
    """Return what a workflow's figures depend on: when it is the same as before, they are."""
    node = state.node
    return (
        state.run, node.status, node.finished_at, node.finished_via, node.completed_at, state.ending_delivered_at,
    )  # fmt: skip


def marks(states: Mapping[tuple[str, str], WorkflowState], created: set[tuple[str, str]]) -> dict[int, Mark]:
    """Return the mark of each workflow a batch has locked, by pk, before anything is merged; none of those it made."""
    return {state.pk or 0: mark(state) for key, state in states.items() if key not in created}


def bucket_of(lag: float) -> int:
    """Return the number of the bucket a lag of so many seconds is counted in; negative lags have negative numbers."""
    size = abs(lag)
    number = 0 if size <= LEAST else math.ceil(math.log(size / LEAST) / _LOG)
    return -number if lag < 0 else number


def bounds_of(number: int) -> tuple[float, float]:
    """Return the seconds a bucket reaches from and to."""
    if number == 0:
        return -LEAST, LEAST
    size = abs(number)
    low, high = LEAST * WIDER ** (size - 1), LEAST * WIDER**size
    return (low, high) if number > 0 else (-high, -low)


def minute_of(at: datetime) -> int:
    """Return the minute an instant lies in, as seconds since 1970."""
    return int(at.timestamp()) // 60 * 60


def ending(
    status: str,
    finished_at: datetime | None,
    finished_via: str | None,
    completed_at: datetime | None,
    delivered_at: datetime | None,
    horizon: timedelta,
) -> Iterator[str]:
    """Yield the figures that one ending counts in; `horizon` is for how long upstream tries to deliver it (R18).

    `ended.<status>`, `learned.<delivery|look|track>`, `undelivered` when no delivery named it in time, `lag.<bucket>`
    for how long after upstream's own instant we knew.
    """
    yield f"ended.{status}"
    if finished_via is not None:
        yield f"learned.{finished_via}"
    if finished_at is None:
        return
    if finished_via == "inferred":
        return  # upstream forgot it: there is no end that a delivery could have missed, or that we learned late
    if delivered_at is None or delivered_at > finished_at + horizon + PATIENCE:
        yield "undelivered"
    if completed_at is not None:
        yield f"lag.{bucket_of((finished_at - completed_at).total_seconds())}"


def _ending_of(node: Node, delivered_at: datetime | None, horizon: timedelta) -> Iterator[str]:
    return ending(node.status, node.finished_at, node.finished_via, node.completed_at, delivered_at, horizon)


def _add(amounts: Amounts, source: str, minute: int, name: str, number: int) -> None:
    here = amounts.setdefault((source, minute), {})
    here[name] = here.get(name, 0) + number


def of_workflow(amounts: Amounts, state: WorkflowState, before: Mark | None, horizon: timedelta) -> None:
    """Add the difference one workflow makes: `before` is its mark before the batch, None when it is new."""
    if before is None:
        _add(amounts, state.source, minute_of(state.node.first_seen_at), "created", 1)
    else:
        _, status, finished_at, via, completed_at, delivered_at = before
        _add(amounts, state.source, TOTAL, f"status.{status}", -1)
        if finished_at is not None:
            minute = minute_of(finished_at)
            for name in ending(status, finished_at, via, completed_at, delivered_at, horizon):
                _add(amounts, state.source, minute, name, -1)
    for past in state.past:  # what ended before stays counted (R10)
        _count_ending(amounts, state.source, past.node, past.ending_delivered_at, horizon)
    _add(amounts, state.source, TOTAL, f"status.{state.node.status}", 1)
    _count_ending(amounts, state.source, state.node, state.ending_delivered_at, horizon)


def _count_ending(amounts: Amounts, source: str, node: Node, delivered_at: datetime | None, horizon: timedelta) -> None:
    if node.finished_at is not None:
        minute = minute_of(node.finished_at)
        for name in _ending_of(node, delivered_at, horizon):
            _add(amounts, source, minute, name, 1)


def of_batch(
    entries: Iterable[Entry],
    results: Iterable[Result],
    states: Mapping[tuple[str, str], WorkflowState],
    before: Mapping[int, Mark],
    policies: Mapping[tuple[str, str], Policy],
    now: datetime,
) -> Amounts:
    """Return what a batch changes: its workflows' contributions, its deliveries by outcome, its disputes."""
    amounts: Amounts = {}
    minute = minute_of(now)
    for entry, result in zip(entries, results, strict=True):
        if entry.kind is EvidenceKind.DELIVERY and entry.again is None and not result.over_quota:
            _add(amounts, entry.source, minute, f"deliveries.{result.outcome}", 1)
        if result.merged is not None:
            for one in result.merged.transitions:
                if one.kind in _COUNTED:
                    _add(amounts, entry.source, minute, _COUNTED[one.kind], 1)
    for key, state in states.items():
        old = before.get(state.pk or 0)
        if mark(state) != old:
            of_workflow(amounts, state, old, policies[key].retry_horizon)
    return amounts


def write(out: Together, amounts: Amounts, now: datetime) -> None:
    """Add what changes to `out`, as one row; nothing when nothing does. Nobody else is kept waiting."""
    changed = [
        [source, minute, {name: number for name, number in numbers.items() if number}]
        for (source, minute), numbers in sorted(amounts.items())
    ]
    changed = [one for one in changed if one[2]]
    if changed:
        out.insert(figure_deltas, ("at", "delta"), [(now, changed)])
