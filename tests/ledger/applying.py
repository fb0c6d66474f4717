"""Putting evidence into a real ledger, as the receiver and the reconciler do, and reading back what it holds."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from receiver.ledger import checks, store
from receiver.ledger.ahead import Ahead
from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.entries import Answer, Entry, Look, Result
from receiver.ledger.evidence import dedupe_key
from receiver.ledger.policy import Policy
from receiver.ledger.recent import Recent
from receiver.ledger.records import EvidenceKind, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.ledger.tables import attention
from receiver.ledger.tables import checks as checks_table
from tests.ledger.histories import at

POLICY = Policy(Trust.TOKEN)
HINTS = Policy(Trust.HINT, hint_quota=5)


def saw(status=None, level=Level.WORKFLOW, key="", step=None, **more):
    known = Status(status) if status in set(Status) else None
    return Observation(level, key, step, known, status, **more)


def delivery(second, *seen, wf="wf", body=b"", trust=Trust.TOKEN, policy=POLICY, identity="", source="civ", **more):
    key, digest = dedupe_key(identity, (), body or repr((wf, seen)).encode())
    reading = Reading(wf, seen, identity=identity, **more) if seen else None
    return Entry(
        source, policy, EvidenceKind.DELIVERY, at(second), wf, reading, trust, None if seen else "not understood",
        {}, body or b"{}", digest, identity or None, key,
    )  # fmt: skip


def answer(second, claim, *seen, how=Answer.SHOWN, policy=POLICY, body=b"{}", message="", **more):
    reading = Reading(claim.id, seen, snapshot=True, complete=True, **more) if how is Answer.SHOWN else None
    _, digest = dedupe_key("", (), body)
    return Entry(
        claim.source, policy, EvidenceKind.FETCH, at(second), claim.id, reading, body=body, body_sha256=digest,
        http_status=200, http_date=at(second), look=Look(claim.fence, how, message, backoff=2.0),
    )  # fmt: skip


async def put(database: Database, *entries: Entry, now: float | None = None):
    moment = at(now) if now is not None else max(entry.at for entry in entries)
    async with database.write() as connection:
        return await apply(connection, entries, moment)


async def claim(database: Database, second: float, *, limit=10, source="civ"):
    async with database.write() as connection:
        return await checks.claim(
            connection, at(second), holder="test", lease=timedelta(seconds=90), limits={source: limit}
        )  # fmt: skip


async def claim_one(database: Database, second: float, **more):
    (one,) = await claim(database, second, **more)
    return one


async def loaded(database: Database, wf="wf", source="civ"):
    async with database.write() as connection:
        return (await store.lock(connection, [(source, wf)])).get((source, wf))


async def check_of(database: Database, wf="wf", source="civ"):
    query = select(checks_table).where(checks_table.c.source == source, checks_table.c.id == wf)
    async with database.read() as connection:
        return (await connection.execute(query)).one_or_none()


async def attentions(database: Database):
    query = select(attention).where(attention.c.closed_at.is_(None)).order_by(attention.c.since)
    async with database.read() as connection:
        return [(row.scope, row.subject, row.kind) for row in await connection.execute(query)]


async def rows(database: Database, table):
    async with database.read() as connection:
        return (await connection.execute(select(table))).all()


async def claim_named(database: Database, wf: str, second: float, source="civ"):
    """Claim this workflow's check, due or not."""
    async with database.write() as connection:
        await checks.want(connection, source, wf, None, at(second))
        (one,) = await checks.claim(
            connection, at(second), holder="test", lease=timedelta(seconds=90), limits={source: 1}, ids=[wf]
        )  # fmt: skip
        return one


class Writer:
    """One process that writes: with a memory of its own, or none."""

    def __init__(self, database: Database, *, ahead: bool) -> None:
        self.database, self.recent = database, Recent()
        self.ahead = Ahead(database, self.recent) if ahead else None

    async def put(self, *entries: Entry) -> list[Result]:
        results = None if self.ahead is None else await self.ahead.commit(entries)
        if results is None:
            async with self.database.write() as connection:
                recent = None if self.ahead is None else self.recent
                results = await apply(connection, entries, await database_now(connection), recent)
        if self.ahead is not None:
            self.recent.keep(result.state for result in results)
        return results

    async def close(self) -> None:
        if self.ahead is not None:
            await self.ahead.close()
