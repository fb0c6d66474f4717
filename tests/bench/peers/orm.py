"""A handler in Starlette with a SQLAlchemy ORM session per request, under uvicorn with uvloop and httptools.

`python -m tests.bench.peers.orm --config FILE --port N --workers K`
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tomllib
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import uvicorn
from sqlalchemy import BigInteger, ForeignKey, Identity, UniqueConstraint, select, update
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.bench.peers.events import Event, Step, believed, moves

URL = "HOOKLEDGER_BENCH_PEER_URL"  # the environment hands it to the worker processes


class Base(DeclarativeBase):
    """The peer's own tables."""

    type_annotation_map = {datetime: TIMESTAMP(timezone=True), dict[str, Any]: JSONB}  # noqa: RUF012 - SQLAlchemy's way


class DeliveryRow(Base):
    """A raw delivery, once; `count` says how often it came."""

    __tablename__ = "deliveries"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    body_sha256: Mapped[str] = mapped_column(unique=True)
    workflow_id: Mapped[str]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes]
    received_at: Mapped[datetime]
    count: Mapped[int]


class WorkflowRow(Base):
    """A workflow and where it stands."""

    __tablename__ = "workflows"
    pk: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str]
    facts: Mapped[dict[str, Any] | None]
    first_seen_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class StepRow(Base):
    """A step of a workflow."""

    __tablename__ = "steps"
    pk: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    workflow: Mapped[int] = mapped_column(ForeignKey("workflows.pk"))
    name: Mapped[str]
    status: Mapped[str]
    output: Mapped[dict[str, Any] | None]
    __table_args__ = (UniqueConstraint("workflow", "name"),)


class JobRow(Base):
    """A job of a step."""

    __tablename__ = "jobs"
    pk: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    workflow: Mapped[int] = mapped_column(ForeignKey("workflows.pk"))
    id: Mapped[str]
    step: Mapped[str | None]
    status: Mapped[str]
    progress: Mapped[float | None]
    __table_args__ = (UniqueConstraint("workflow", "id"),)


class TransitionRow(Base):
    """A move of a workflow, a step or a job."""

    __tablename__ = "transitions"
    pk: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    workflow: Mapped[int] = mapped_column(ForeignKey("workflows.pk"), index=True)
    level: Mapped[str]
    key: Mapped[str]
    from_status: Mapped[str]
    to_status: Mapped[str]
    delivery: Mapped[UUID]
    recorded_at: Mapped[datetime]


async def take(session: AsyncSession, event: Event, body: bytes, headers: dict[str, str]) -> str:
    """Do a delivery's work in the open transaction; return the outcome."""
    now, digest, name = datetime.now(UTC), sha256(body).hexdigest(), uuid4()
    row = {
        "id": name, "body_sha256": digest, "workflow_id": event.workflow_id, "headers": headers, "body": body,
        "received_at": now, "count": 1,
    }  # fmt: skip
    kept = await session.execute(
        insert(DeliveryRow).values(row).on_conflict_do_nothing(index_elements=["body_sha256"]).returning(DeliveryRow.id)
    )
    if kept.scalar_one_or_none() is None:
        known = DeliveryRow.body_sha256 == digest
        await session.execute(update(DeliveryRow).where(known).values(count=DeliveryRow.count + 1))
        return "duplicate"
    workflow = await _locked(session, event.workflow_id, now)
    workflow.updated_at = now
    if event.kind == "workflow":
        if event.details is not None and event.details.metadata is not None:
            workflow.facts = event.details.metadata
        _move(session, workflow, workflow, "workflow", "", event.status, name)
    for step in event.steps():
        await _step(session, workflow, step, name)
    if event.job_id is not None:
        await _job(session, workflow, event, name)
    return "applied"


async def _locked(session: AsyncSession, workflow_id: str, now: datetime) -> WorkflowRow:
    wanted = select(WorkflowRow).where(WorkflowRow.id == workflow_id).with_for_update()
    found = (await session.execute(wanted)).scalar_one_or_none()
    if found is None:
        row = {"id": workflow_id, "status": "unassigned", "first_seen_at": now, "updated_at": now}
        await session.execute(insert(WorkflowRow).values(row).on_conflict_do_nothing(index_elements=["id"]))
        found = (await session.execute(wanted)).scalar_one()
    return found


async def _step(session: AsyncSession, workflow: WorkflowRow, told: Step, delivery: UUID) -> None:
    wanted = select(StepRow).where(StepRow.workflow == workflow.pk, StepRow.name == told.name)
    step = (await session.execute(wanted)).scalar_one_or_none()
    if step is None:
        step = StepRow(workflow=workflow.pk, name=told.name, status="unassigned", output=None)
        session.add(step)
    if told.output is not None:
        step.output = told.output
    _move(session, workflow, step, "step", told.name, told.status, delivery)


async def _job(session: AsyncSession, workflow: WorkflowRow, event: Event, delivery: UUID) -> None:
    assert event.job_id is not None
    wanted = select(JobRow).where(JobRow.workflow == workflow.pk, JobRow.id == event.job_id)
    job = (await session.execute(wanted)).scalar_one_or_none()
    if job is None:
        job = JobRow(workflow=workflow.pk, id=event.job_id, step=event.step_name, status="unassigned", progress=None)
        session.add(job)
    if event.progress is not None:
        job.progress = max(job.progress or 0.0, event.progress)
    _move(session, workflow, job, "job", event.job_id, event.status, delivery)


def _move(
    session: AsyncSession,
    workflow: WorkflowRow,
    node: WorkflowRow | StepRow | JobRow,
    level: str,
    key: str,
    status: str,
    delivery: UUID,
) -> None:
    if not moves(node.status, status):
        return
    session.add(
        TransitionRow(
            workflow=workflow.pk, level=level, key=key, from_status=node.status, to_status=status, delivery=delivery,
            recorded_at=datetime.now(UTC),
        )
    )  # fmt: skip
    node.status = status


async def hook(request: Request) -> JSONResponse:
    """Answer one delivery."""
    if not believed(request.url.query):
        return JSONResponse({"detail": "not believed"}, 401)
    body = await request.body()
    event = Event.model_validate_json(body)
    sessions: async_sessionmaker[AsyncSession] = request.app.state.sessions
    async with sessions() as session, session.begin():
        outcome = await take(session, event, body, dict(request.headers))
    return JSONResponse({"outcome": outcome})


def app() -> Starlette:
    """Return the application; each worker process calls this for itself."""
    made = Starlette(routes=[Route("/hooks/civitai", hook, methods=["POST"])])
    engine = create_async_engine(os.environ[URL], pool_size=10, max_overflow=10)
    made.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    return made


async def _create() -> None:
    engine = create_async_engine(os.environ[URL])
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    url = tomllib.loads(given.config.read_text())["database"]["url"]
    os.environ[URL] = url.replace("postgresql://", "postgresql+asyncpg://")
    asyncio.run(_create())
    uvicorn.run(
        "tests.bench.peers.orm:app",
        factory=True,
        port=given.port,
        workers=given.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
