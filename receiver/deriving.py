"""One workflow derived again from all its evidence with today's code. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.ledger.history import Past
from receiver.ledger.merge import new_state
from receiver.ledger.nodes import Merged, PastRun, WorkflowState
from receiver.ledger.records import EvidenceKind, JsonObject, Outcome
from receiver.ledger.taking import take, take_answer
from receiver.ledger.views import Children, differences, timeline_difference, view
from receiver.reading import ASKED, LISTED
from receiver.rereading import REPLAYED, NotReplayable, Reread, Rereader, Row, refers_to


@dataclass(slots=True)
class Derived:
    """What evidence makes of one workflow. `odd` are differences of the evidence itself: it reads otherwise today."""

    state: WorkflowState
    timeline: list[tuple[Any, ...]] = field(default_factory=list)
    over: list[PastRun] = field(default_factory=list)
    earlier: dict[int, Children] = field(default_factory=dict)
    odd: list[JsonObject] = field(default_factory=list)

    def take(self, read: Reread) -> None:
        """Take in one piece of evidence, as the ledger did when it came."""
        entry, state, now = read.entry, self.state, read.row["recorded_at"]
        if entry is None:
            return
        if entry.workflow_id != state.id:
            told = {"what": f"evidence {read.row['id']}", "stored": state.id, "derived": entry.workflow_id}
            self.odd.append(told)
            return
        if read.hint:
            return
        run, children = state.run, Children(dict(state.steps), dict(state.jobs), dict(state.blobs))
        if entry.look is not None:
            merged = take_answer(state, entry, read.name, now)
        else:
            merged = take(state, entry, read.name, now, fresh=read.fresh) if entry.reading is not None else None
        if state.run != run:
            self.earlier[run] = children
        self._note(merged)

    def _note(self, merged: Merged | None) -> None:
        self.over += self.state.past
        self.state.past = []
        for one in merged.transitions if merged is not None else ():
            self.timeline.append(
                (self.state.run, one.level, one.key, one.from_status, one.to_status, one.kind, one.evidence)
            )


def derive(reader: Rereader, past: Past, held: Mapping[str, Row], late: Sequence[Row] = ()) -> Derived:
    """Return what a workflow's evidence makes of it today.

    `held` is the evidence that its rows refer to, `late` what belonged to no workflow when it came and can be read now.
    Raises NotReplayable.
    """
    # What named the workflow before it was known was given to it later, and moved nothing. Its number says so, not its
    # instant: the database's clock may have been set back.
    made_at = past.state.node.first_seen_at
    before = next((n for n, row in enumerate(past.rows) if row["recorded_at"] == made_at), 0)
    return derived(reader, past.state.source, past.state.id, past.rows, held, late, before)


def derived(
    reader: Rereader,
    source: str,
    workflow_id: str,
    rows: Sequence[Row],
    held: Mapping[str, Row],
    late: Sequence[Row],
    before: int = 0,
) -> Derived:
    """As `derive`, for a workflow that need not be there; the first `before` rows are older than it."""
    if [row["seq"] for row in rows] != list(range(1, len(rows) + 1)) or not (rows or late):
        raise NotReplayable("evidence was pruned")
    known = {refers_to(row) for row in rows}
    unread = [row for row in late if row["id"] not in known]
    ordered = list(rows[before:])
    for row in unread:
        after = [n for n, one in enumerate(ordered) if one["recorded_at"] > row["recorded_at"]]
        ordered.insert(after[0] if after else len(ordered), row)
    found = Derived(_born(source, workflow_id, rows[before:] or unread, held))
    for row in ordered:
        name = refers_to(row)
        found.take(reader.read(row, held.get(name) if name is not None else None))
    return found


def _born(source: str, workflow_id: str, rows: Sequence[Row], held: Mapping[str, Row]) -> WorkflowState:
    made = (row for row in rows if row["outcome"] not in (Outcome.HINT, Outcome.QUARANTINED))
    first = next(made, rows[0])
    listed = first["kind"] == EvidenceKind.FETCH and (first["headers"] or {}).get(ASKED) == LISTED
    # A decision to read a delivery once more lets it come in as what it is.
    read = held.get(refers_to(first) or "", first) if first["kind"] == EvidenceKind.DECISION else first
    seen_by = {EvidenceKind.DELIVERY: "delivery", EvidenceKind.FETCH: "look"}.get(read["kind"], "track")
    return new_state(source, workflow_id, first["recorded_at"], "backfill" if listed else seen_by)


def compared(past: Past, found: Derived) -> list[JsonObject]:
    """Return the differences between what is stored of a workflow and what its evidence makes of it.

    The timeline tells what happened, with the code of its day: once a replay was applied it is not compared any more.
    """
    stored = view(past.state, past.over, past.earlier)
    again = view(found.state, found.over, found.earlier)
    differs = differences(stored, again) + found.odd
    if not any(REPLAYED in (row["decision"] or {}) for row in past.rows):
        differs += timeline_difference(past.timeline, found.timeline)
    return differs
