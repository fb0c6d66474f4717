"""One batch of everything a delivery may do to the ledger, made anew for each round, and what it must have left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from receiver.intake import Intake, IntakeUnavailable
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry, Result
from receiver.ledger.records import BlobSeen, Level, Trust
from receiver.ledger.tables import attention, blobs, checks, evidence, jobs, steps, transitions, workflows
from tests.ledger.applying import POLICY, delivery, put, saw


def batch(name: str) -> list[Entry]:
    """Deliveries about workflows of this round: new ones, known ones, a repeated one, a dispute, an unreadable one."""
    made = (BlobSeen("out", url="https://x/out", available=True),)

    def one(second: int, wf: str, *seen: Any, **more: Any) -> Entry:
        return delivery(second, *seen, wf=f"{name}-{wf}", body=f"{name} {second}".encode(), **more)

    return [
        one(20, "new", saw("processing"), saw("processing", Level.STEP, "s"), saw("scheduled", Level.JOB, "j", "s")),
        one(21, "new", saw("succeeded", Level.JOB, "j", "s")),
        one(22, "known", saw("succeeded"), saw("succeeded", Level.STEP, "s"), blobs=made),
        one(23, "ended", saw("failed"), trust=Trust.SIGNED),
        one(24, "other", saw("canceled")),
        one(24, "other", saw("canceled")),
        one(25, "broken"),
        one(26, "unknown", saw("dancing")),
    ]


async def prepare(database: Database, name: str) -> None:
    """Let there be what the batch finds."""
    await put(
        database,
        delivery(10, saw("processing"), wf=f"{name}-known", body=f"{name} 10".encode()),
        delivery(11, saw("succeeded"), wf=f"{name}-ended", body=f"{name} 11".encode(), trust=Trust.SIGNED),
        now=12,
    )  # fmt: skip


@dataclass
class Round:
    """What became of a batch that met trouble."""

    name: str
    entries: list[Entry]
    answers: list[Result | IntakeUnavailable]


async def submit(intake: Intake, name: str) -> Round:
    """Submit the batch; everything else than an answer or an honest refusal is raised."""
    entries = batch(name)
    answers = await asyncio.gather(*(intake.submit(entry) for entry in entries), return_exceptions=True)
    for answer in answers:
        if not isinstance(answer, (Result, IntakeUnavailable)):
            raise answer
    return Round(name, entries, list(answers))  # type: ignore[arg-type]


async def left(database: Database, name: str) -> dict[str, list[Any]]:
    """Return what there is of a round, without its name and without ids and times of recording."""
    async with database.read() as connection:
        flows = {
            row.pk: row
            for row in await connection.execute(select(workflows).where(workflows.c.id.like(f"{name}-%")))
        }  # fmt: skip

        async def of(table: Any, *columns: str) -> list[Any]:
            found = await connection.execute(select(table).where(table.c.workflow.in_(flows)))
            return sorted(
                (flows[row.workflow].id.removeprefix(name), *(str(getattr(row, column)) for column in columns))
                for row in found
            )

        proof = await connection.execute(select(evidence))
        open_ = await connection.execute(select(attention).where(attention.c.closed_at.is_(None)))
        mine = [row for row in proof if row.body.startswith(f"{name} ".encode())]
        ids = {row.id: bytes(row.body).removeprefix(name.encode()) for row in mine}
        return {
            "workflows": sorted((row.id.removeprefix(name), row.status, row.evidence_seq, row.transition_seq,
                                 row.confirmed_at is not None) for row in flows.values()),
            "steps": await of(steps, "key", "status"),
            "jobs": await of(jobs, "key", "step", "status"),
            "blobs": await of(blobs, "id", "url", "available"),
            "transitions": await of(transitions, "level", "key", "from_status", "to_status", "kind"),
            "checks": await of(checks, "lane", "attempts", "looks"),
            "evidence": sorted((ids[row.id], row.outcome, row.problem or "") for row in mine),
            "attention": sorted(
                (row.kind, row.note or "") for row in open_
                if row.subject.startswith(f"{name}-") or row.subject in ids
            ),
        }  # fmt: skip


async def acknowledged_but_gone(database: Database, round_: Round) -> list[str]:
    """Return the deliveries that were answered and are not stored under that name."""
    async with database.read() as connection:
        stored = {row.id: bytes(row.body) for row in await connection.execute(select(evidence))}
    return [
        f"{entry.body!r}: answered {answer.evidence}, stored {stored.get(answer.evidence)!r}"
        for entry, answer in zip(round_.entries, round_.answers, strict=True)
        if isinstance(answer, Result) and stored.get(answer.evidence) != entry.body
    ]


__all__ = ["POLICY", "Round", "acknowledged_but_gone", "batch", "left", "prepare", "submit"]
