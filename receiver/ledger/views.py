"""Everything the ledger holds of one workflow as plain data that two of them can be compared by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import orjson

from receiver.ledger.nodes import ABOUT, Blob, Node, PastRun, WorkflowState
from receiver.ledger.records import JsonObject
from receiver.ledger.rows import BLOB, NODE, OWN_MOVING, OWN_STANDING

View = dict[str, JsonObject]  # "step:$0" -> {"status": "failed", "facts.error": {...}, …}
_COUNTERS = frozenset({"evidence_seq", "transition_seq", "version", "run"})
_DOCUMENTS = ("facts", "stamps")  # compared name by name


@dataclass(frozen=True, slots=True)
class Children:
    """What hangs on one run of a workflow."""

    steps: Mapping[str, Node] = field(default_factory=dict)
    jobs: Mapping[str, Node] = field(default_factory=dict)
    blobs: Mapping[str, Blob] = field(default_factory=dict)


def view(state: WorkflowState, past: Iterable[PastRun], earlier: Mapping[int, Children]) -> View:
    """Return a workflow with its runs so far; `earlier` are the children of the runs that are over."""
    own = {name: getattr(state, name) for name in (*OWN_MOVING, *OWN_STANDING) if name not in _COUNTERS}
    about = {name: state.about.get(name) for name in ABOUT}
    found = {"workflow": {"run": state.run, **own, **about, **_node(state.node)}}
    for one in past:
        found[f"run {one.run}"] = {**_node(one.node), "ending_delivered_at": one.ending_delivered_at}
    for run, children in earlier.items():
        found |= _children(f"run {run} ", children)
    found |= _children("", Children(state.steps, state.jobs, state.blobs))
    plain: View = orjson.loads(orjson.dumps(found))  # as it comes back from the database
    return {what: _by_name(values) for what, values in plain.items()}


def _children(prefix: str, children: Children) -> dict[str, JsonObject]:
    return {
        **{f"{prefix}step:{key}": _node(one) for key, one in children.steps.items()},
        **{f"{prefix}job:{key}": {**_node(one), "step": one.step} for key, one in children.jobs.items()},
        **{f"{prefix}blob:{key}": {name: getattr(one, name) for name in BLOB} for key, one in children.blobs.items()},
    }


def _node(node: Node) -> JsonObject:
    return {**{name: getattr(node, name) for name in NODE}, "facts": node.facts, "stamps": node.stamps}


def _by_name(values: JsonObject) -> JsonObject:
    """Spread documents out, so that a difference names the fact it is about."""
    found = {name: value for name, value in values.items() if name not in _DOCUMENTS and value is not None}
    for document in _DOCUMENTS:
        found |= {f"{document}.{name}": value for name, value in (values.get(document) or {}).items()}
    return found


def differences(stored: View, derived: View) -> list[JsonObject]:
    """Return `{"what", "stored", "derived"}` for each value that is not the same; absent is null."""
    found: list[JsonObject] = []
    for what in sorted(stored.keys() | derived.keys(), key=lambda name: (name != "workflow", name)):
        ours, theirs = stored.get(what), derived.get(what)
        if ours is None or theirs is None:
            there = {"status": (ours or theirs or {}).get("status", "there")}
            told = (there, None) if theirs is None else (None, there)
            found.append({"what": what, "stored": told[0], "derived": told[1]})
            continue
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                found.append({"what": f"{what}.{name}", "stored": ours.get(name), "derived": theirs.get(name)})
    return found


def timeline_difference(stored: Sequence[tuple[Any, ...]], derived: Sequence[tuple[Any, ...]]) -> list[JsonObject]:
    """Return where two timelines part, as a difference; none when they are the same.

    Each is (run, level, key, from, to, kind, evidence) a transition. In which order one piece of evidence moved several
    children says nothing.
    """
    stored, derived = _ordered(stored), _ordered(derived)
    if stored == derived:
        return []
    pairs = zip(stored, derived, strict=False)
    shared = next((n for n, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(stored), len(derived)))
    told = [
        f"{len(one)} transitions, number {shared + 1}: "
        + (" ".join(map(str, one[shared])) if shared < len(one) else "-")
        for one in (stored, derived)
    ]
    return [{"what": "timeline", "stored": told[0], "derived": told[1]}]


def _ordered(timeline: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for _, moves in groupby(timeline, key=lambda move: move[-1]):
        found += sorted(moves, key=lambda move: [str(one) for one in move])
    return found
