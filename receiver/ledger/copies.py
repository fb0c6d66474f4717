"""The rows of what is copied before upstream deletes it: queueing, claiming, finishing (`collect`).

Queued in the transaction that learns of a file, so that none is forgotten; claimed with a lease and a fence like checks
are, but by themselves: a copy may take minutes, and no look waits for one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk
from receiver.ledger.collected import collected
from receiver.ledger.evidence import new_id
from receiver.ledger.nodes import Blob, WorkflowState
from receiver.ledger.operations import source_state
from receiver.ledger.policy import Policy
from receiver.ledger.query_parts import stamp
from receiver.ledger.records import JsonObject
from receiver.ledger.tables import blobs, checks, workflows

_QUEUED = ("id", "source", "workflow", "run", "blob", "state", "queued_at", "due_at", "tries", "fence")
_KEY = ("workflow", "run", "blob")

Copies = dict[int, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed copy: the file as the ledger knows it (None: not any more), and the number its end must still have.

    `place`, `size` and `sha256` are there when an earlier try had the whole file and may have put it there.
    """

    id: str
    source: str
    run: int
    blob_id: str
    fence: int
    tries: int
    queued_at: datetime
    claimed_at: datetime
    workflow: int | None = None
    workflow_id: str | None = None
    ended: bool = False
    blob: Blob | None = None
    place: str | None = None
    size: int | None = None
    sha256: str | None = None
    type: str | None = None


async def attend(connection: AsyncConnection, touched: Iterable[tuple[WorkflowState, Policy]], now: datetime) -> Copies:
    """Queue the files of ended workflows that are to be copied and can be; returns how copies stand, per workflow.

    Only workflows of sources with `collect` are looked at; without any nothing is asked of the database.
    """
    ended = [state for state, policy in touched if policy.collect and state.node.confirmed_at is not None]
    if not ended:
        return {}
    rows = [
        (new_id(), state.source, state.pk, state.run, blob.id, "due", now, now, 0, 0)
        for state in sorted(ended, key=lambda one: one.pk or 0)
        for _, blob in sorted(state.blobs.items())
        if blob.url is not None and blob.url_confirmed and blob.available and blob.gone_at is None
    ]
    await bulk.insert_new(connection, collected, _QUEUED, rows, _KEY)
    return await of(connection, [(state.pk, state.run) for state in ended if state.pk is not None])


async def of(connection: AsyncConnection, runs: Iterable[tuple[int, int]]) -> Copies:
    """Return how the copies of these workflows' runs stand: workflow pk to blob id to state."""
    keys = sorted(set(runs))
    found: Copies = {pk: {} for pk, _ in keys}
    for row in await bulk.by_keys(connection, collected, ("workflow", "run"), keys):
        found[row["workflow"]][row["blob"]] = row["state"]
    return found


async def adopt(
    connection: AsyncConnection, source: str, after: int, most: int, now: datetime
) -> tuple[int | None, int]:
    """Queue files that were known before copying was switched on, of at most `most` workflows from pk `after` on.

    Returns the pk to go on from (None: that was all), and how many were queued. Files whose time is over are left out.
    """
    w, b = workflows.c, blobs.c
    query = select(w.pk).where(w.source == source, w.pk > after).order_by(w.pk).limit(most)
    pks = list((await connection.execute(query)).scalars())
    if not pks:
        return None, 0
    alive = [or_(clock.is_(None), clock > now) for clock in (b.media_expires_at, b.record_expires_at)]
    ready = and_(b.url.is_not(None), b.url_confirmed, b.available, b.gone_at.is_(None), *alive)
    files = (
        select(b.workflow, b.run, b.id)
        .join(workflows, and_(w.pk == b.workflow, w.run == b.run))
        .where(b.workflow.in_(pks), w.confirmed_at.is_not(None), ready)
        .order_by(b.workflow, b.id)
    )
    rows = [(new_id(), source, *row, "due", now, now, 0, 0) for row in await connection.execute(files)]
    made = await bulk.insert_new(connection, collected, _QUEUED, rows, _KEY)
    return (pks[-1] if len(pks) == most else None), len(made)


async def adopted(connection: AsyncConnection, sources: Collection[str]) -> set[str]:
    """Return those of the sources whose earlier files have been queued."""
    s = source_state.c
    query = select(s.source).where(s.source.in_(sorted(sources)), s.collecting_since.is_not(None))
    return set((await connection.execute(query)).scalars())


async def note_adopted(connection: AsyncConnection, source: str, at: datetime | None) -> None:
    """Note that a source's earlier files have been queued; None: it is not copied from any more."""
    if at is None:
        gone = (source_state.c.source == source, source_state.c.collecting_since.is_not(None))
        await connection.execute(update(source_state).where(*gone).values(collecting_since=None))
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(source_state).values(source=source, collecting_since=at)
    await connection.execute(statement.on_conflict_do_update(index_elements=["source"], set_={"collecting_since": at}))


def _due(source: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    c = collected.c
    free = or_(c.leased_until.is_(None), c.leased_until <= now)
    return c.source == source, c.due_at <= now, c.workflow.is_not(None), free


async def backlog(connection: AsyncConnection, sources: Collection[str], now: datetime) -> dict[str, int]:
    """Return how many copies are due of each of these sources; sources without any are not in it."""
    c = collected.c
    free = or_(c.leased_until.is_(None), c.leased_until <= now)
    query = select(c.source, func.count()).where(
        c.source.in_(sorted(sources)), c.due_at <= now, c.workflow.is_not(None), free
    )
    rows = await connection.execute(query.group_by(c.source))
    return {row[0]: row[1] for row in rows}


async def claim(
    connection: AsyncConnection, source: str, limit: int, now: datetime, *, holder: str, lease: timedelta
) -> list[Job]:
    """Take copies of a source that are due, the longest due first. Any number of processes may do so at once."""
    picked = select(collected.c.id).where(*_due(source, now)).order_by(collected.c.due_at).limit(limit)
    if connection.dialect.name == "postgresql":
        picked = picked.with_for_update(skip_locked=True)
    names = sorted((await connection.execute(picked)).scalars())
    if not names:
        return []
    await connection.execute(
        update(collected)
        .where(collected.c.id.in_(names))
        .values(fence=collected.c.fence + 1, tries=collected.c.tries + 1, leased_until=now + lease, leased_by=holder)
    )
    return [_job(row, now) for row in (await connection.execute(_files(names))).mappings()]


def _files(names: Sequence[str]) -> Any:
    c, w = collected.c, workflows.c
    facts = [column.label(f"blob_{column.name}") for column in blobs.c if column.name in Blob.__slots__]
    return (
        select(collected, w.id.label("workflow_id"), w.confirmed_at.label("ended_at"), w.run.label("now_run"), *facts)
        .outerjoin(workflows, w.pk == c.workflow)
        .outerjoin(blobs, and_(blobs.c.workflow == c.workflow, blobs.c.run == c.run, blobs.c.id == c.blob))
        .where(c.id.in_(names))
        .order_by(c.id)
    )


def _job(row: Any, now: datetime) -> Job:
    blob = None
    if row["blob_id"] is not None and row["now_run"] == row["run"]:
        blob = Blob(**{name: row[f"blob_{name}"] for name in Blob.__slots__ if f"blob_{name}" in row})
    return Job(
        row["id"], row["source"], row["run"], row["blob"], row["fence"], row["tries"], row["queued_at"], now,
        row["workflow"], row["workflow_id"], row["ended_at"] is not None, blob, row["place"], row["size"],
        row["sha256"], row["type"],
    )  # fmt: skip


def _mine(job: Job) -> tuple[ColumnElement[bool], ...]:
    return collected.c.id == job.id, collected.c.fence == job.fence, collected.c.state == "due"


async def set_mine(connection: AsyncConnection, job: Job, **values: Any) -> bool:
    """Write to a claimed row; False, and nothing written, when it has gone to somebody else meanwhile."""
    statement = update(collected).where(*_mine(job)).values(values).returning(collected.c.id)
    return (await connection.execute(statement)).first() is not None


async def hand_back(connection: AsyncConnection, job: Job, due_at: datetime, **values: Any) -> bool:
    """Give a claimed row back, due again at `due_at`; False when it had gone to somebody else."""
    return await set_mine(connection, job, due_at=due_at, leased_until=None, leased_by=None, **values)


async def end(connection: AsyncConnection, job: Job, state: str, **values: Any) -> bool:
    """Close a claimed row as `kept` or `failed`; False when it had gone to somebody else."""
    return await set_mine(connection, job, state=state, due_at=None, leased_until=None, leased_by=None, **values)


async def again(connection: AsyncConnection, source: str, workflow_id: str | None, now: datetime) -> list[str]:
    """Queue anew the copies of a source, or of one of its workflows, that were given up; returns their files' ids.

    Attention stays open until they are kept, or given up once more.
    """
    c, w = collected.c, workflows.c
    mine = select(c.id).join(workflows, w.pk == c.workflow).where(c.source == source, c.state == "failed")
    if workflow_id is not None:
        mine = mine.where(w.id == workflow_id)
    statement = (
        update(collected)
        .where(c.id.in_(mine), c.state == "failed")
        .values(state="due", due_at=now, queued_at=now, tries=0, leased_until=None, leased_by=None)
        .returning(c.blob)
    )
    return sorted((await connection.execute(statement)).scalars())


async def stir(connection: AsyncConnection, job: Job, now: datetime) -> None:
    """Have the plan of a file's workflow worked out anew: a URL that is to be copied from is due to be renewed.

    On the lowest lane; a check that is due earlier stays as it is.
    """
    if job.workflow is None or job.workflow_id is None:
        return
    later = or_(checks.c.due_at.is_(None), checks.c.due_at > now)
    row = {
        "source": job.source, "id": job.workflow_id, "workflow": job.workflow, "reasons": {"blobs": now.isoformat()},
        "lane": "standing", "due_at": now, "hints": 0, "attempts": 0, "looks": 0, "misses": 0, "fence": 0,
    }  # fmt: skip
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(checks).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["source", "id"], set_={"due_at": now, "lane": "standing"}, where=later
    )
    await connection.execute(statement)


async def orphans(connection: AsyncConnection, limit: int) -> list[tuple[str, str, str | None]]:
    """Return (id, source, place) of copies whose workflow has been forgotten."""
    c = collected.c
    query = select(c.id, c.source, c.place).where(c.workflow.is_(None)).order_by(c.id).limit(limit)
    return [(row.id, row.source, row.place) for row in await connection.execute(query)]


async def drop(connection: AsyncConnection, name: str) -> None:
    """Remove a row whose bytes are gone."""
    await connection.execute(collected.delete().where(collected.c.id == name, collected.c.workflow.is_(None)))


async def kept(connection: AsyncConnection, source: str, blob_id: str) -> Any:
    """Return the copy of a file as a row of `collected`, None when there is none. The newest, of workflows' last runs.

    Several workflows may name the same file.
    """
    c, w = collected.c, workflows.c
    query = (
        select(collected)
        .join(workflows, and_(w.pk == c.workflow, w.run == c.run))
        .where(c.source == source, c.blob == blob_id, c.state == "kept")
        .order_by(c.kept_at.desc(), c.id.desc())
        .limit(1)
    )
    return (await connection.execute(query)).mappings().first()


async def of_blob(connection: AsyncConnection, workflow: int, run: int, blob_id: str) -> JsonObject | None:
    """Return how the copy of one file stands as JSON, None when it is not to be copied."""
    c = collected.c
    query = select(collected).where(c.workflow == workflow, c.run == run, c.blob == blob_id)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    kept_at = row["kept_at"]
    return {
        "state": row["state"],
        "size": row["size"],
        "sha256": row["sha256"],
        "type": row["type"],
        "kept_at": stamp(kept_at) if kept_at is not None else None,
        "tries": row["tries"],
        "error": row["error"],
    }
