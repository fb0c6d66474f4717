"""What a run of the reconciler did: counted while it runs, kept in a row that is there from its start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.entries import Answer
from receiver.ledger.evidence import new_id
from receiver.ledger.operations import passes
from receiver.ledger.query_parts import stamp

# Answers that leave an item undone. A 404 is an answer: what it means is in the ledger.
FAILURES = (Answer.BUSY, Answer.REFUSED, Answer.CREDENTIALS, Answer.UNREADABLE, Answer.HELD)


@dataclass(slots=True)
class PassReport:
    """What one pass did. `kind` is cron, open or daemon.

    `counts` hold how many tries were answered in each way (the words of `Answer`), and `looks` (tries in all),
    `relinks`, `stale` (answers that came after their lease had ended), `created` (workflows found that way), `lost`
    (answers that could not be written), `gave_up` and `failed` (items left undone). `outcome` is done, budget (its time
    was over), limit (`--limit`), stopped or broken. `planned` lists what a dry run would have done.
    """

    kind: str
    id: str = field(default_factory=new_id)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    counts: Counter[str] = field(default_factory=Counter)
    outcome: str = ""
    planned: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many items were left undone."""
        return sum(self.counts[word] for word in FAILURES) + self.counts["lost"]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {
            "id": self.id,
            "kind": self.kind,
            "started_at": stamp(self.started_at),
            "ended_at": stamp(self.ended_at),
            "outcome": self.outcome,
            "failed": self.failed,
            "counts": dict(sorted(self.counts.items())),
            "planned": self.planned,
        }


async def begin(connection: AsyncConnection, report: PassReport, holder: str, now: datetime) -> None:
    """Leave the row that says a pass has begun."""
    report.started_at = now
    row = {"id": report.id, "kind": report.kind, "holder": holder, "started_at": now, "counts": {}}
    await connection.execute(insert(passes).values(**row))


async def note(connection: AsyncConnection, report: PassReport) -> None:
    """Write down what was done so far, and the end when there is one."""
    values = {"counts": dict(report.counts), "ended_at": report.ended_at, "outcome": report.outcome or None}
    await connection.execute(update(passes).where(passes.c.id == report.id).values(**values))
