"""What lists find workflows by, in a table of its own: the labels of their contexts, and the types of their steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk
from receiver.ledger.derived import labels
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.together import Together

_COLUMNS = ("workflow", "digest", "first_seen_at")
_KEY = ("workflow", "digest")


def digest(key: str, value: str) -> bytes:
    """Return what a label is found by: 16 bytes, however long key and value are."""
    return sha256(f"{len(key)}:{key}{value}".encode("utf-8", "surrogatepass")).digest()[:16]


def digest_of_type(step_type: str) -> bytes:
    """Return what workflows with a step of this type are found by. No label has the same: theirs begin with a number.

    A workflow keeps it when a later run has no such step: whoever lists by it looks at the steps too.
    """
    return sha256(f"step:{step_type}".encode("utf-8", "surrogatepass")).digest()[:16]


def _types(state: WorkflowState) -> set[bytes]:
    kinds = (step.facts.get("type") for step in state.steps.values())
    return {digest_of_type(kind) for kind in kinds if isinstance(kind, str)}


def add_types(out: Together, states: Collection[WorkflowState]) -> None:
    """Add to `out` the types of steps that locked workflows did not have before; nothing for any other."""
    changed = [one for one in states if not one.relabelled and any(step.retyped for step in one.steps.values())]
    rows = [
        (state.pk, one, state.node.first_seen_at)
        for state in sorted(changed, key=lambda state: state.pk or 0)
        for one in sorted(_types(state))
    ]
    out.insert(labels, _COLUMNS, rows, keys=_KEY)


async def write(connection: AsyncConnection, states: Iterable[WorkflowState]) -> None:
    """Write anew all that locked workflows whose context has changed are found by; nothing for any other."""
    changed = sorted((state for state in states if state.relabelled), key=lambda state: state.pk or 0)
    if not changed:
        return
    await connection.execute(labels.delete().where(labels.c.workflow.in_([state.pk for state in changed])))
    rows = [
        (state.pk, one, state.node.first_seen_at)
        for state in changed
        for one in sorted(
            _types(state) | {digest(key, value) for key, value in (state.about.get("context") or {}).items()}
        )
    ]
    await bulk.insert(connection, labels, _COLUMNS, rows)
