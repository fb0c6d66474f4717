"""Workflows, steps, jobs and their blobs: what is true; and the permits its guards ask for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT, LABELS, ROW_ID

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _permits()
    _workflows()
    _steps()
    _jobs()
    _blobs()


def _permits() -> None:
    op.create_table(
        "permits",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("until", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_permits")),
        sa.CheckConstraint("name IN ('replay')", name=op.f("ck_permits_name")),
        sa.CheckConstraint("until <> name", name=op.f("ck_permits_until")),
        sa.ForeignKeyConstraint(
            ["until"], ["permits.name"], name=op.f("fk_permits_until"), deferrable=True, initially="DEFERRED"
        ),
    )


def _workflows() -> None:
    op.create_table(
        "workflows",
        sa.Column("pk", ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("upstream_status", sa.Text()),
        sa.Column("status_at", INSTANT),
        sa.Column("status_seen_at", INSTANT, nullable=False),
        sa.Column("look_sent_at", INSTANT),
        sa.Column("look_date", INSTANT),
        sa.Column("confirmed_at", INSTANT),
        sa.Column("inferred_from", sa.Text()),
        sa.Column("alive_since", INSTANT),
        sa.Column("first_seen_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT),
        sa.Column("completed_at", INSTANT),
        sa.Column("finished_at", INSTANT),
        sa.Column("finished_via", sa.Text()),
        sa.Column("progress", sa.Float()),
        sa.Column("reason", sa.Text()),
        sa.Column("blocked_reason", sa.Text()),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("stamps", sa.Text(), nullable=False),
        sa.Column("first_seen_via", sa.Text(), nullable=False),
        sa.Column("submitted_at", INSTANT),
        sa.Column("news_at", INSTANT),
        sa.Column("asked_at", INSTANT),
        sa.Column("ending_delivered_at", INSTANT),
        sa.Column("vanished_at", INSTANT),
        sa.Column("ephemeral", sa.Boolean()),
        sa.Column("model", sa.Text()),
        sa.Column("output_format", sa.Text()),
        sa.Column("request", sa.Text()),
        sa.Column("source_media", sa.Text()),
        sa.Column("usage", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("ref", sa.Text()),
        sa.Column("locator", sa.Text()),
        sa.Column("context", LABELS),
        sa.Column("evidence_seq", sa.Integer(), nullable=False),
        sa.Column("transition_seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_workflows")),
        sa.CheckConstraint(
            "confirmed_at IS NULL OR status IN ('succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_workflows_confirmed_is_terminal"),
        ),
        sa.CheckConstraint(
            "inferred_from IS NULL OR (status IN ('succeeded', 'failed', 'expired',"
            " 'canceled') AND confirmed_at IS NULL)",
            name=op.f("ck_workflows_inferred_is_provisional"),
        ),
        sa.CheckConstraint(
            "status IN ('unassigned', 'preparing', 'scheduled', 'processing',"
            " 'succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_workflows_status"),
        ),
        sa.UniqueConstraint("source", "id", name=op.f("uq_workflows_source_id")),
    )
    op.create_index("ix_workflows_first_seen", "workflows", ["first_seen_at", "pk"])
    op.create_index("ix_workflows_id", "workflows", ["id"])
    op.create_index(
        "ix_workflows_ref",
        "workflows",
        ["ref"],
        postgresql_where=sa.text("ref IS NOT NULL"),
        sqlite_where=sa.text("ref IS NOT NULL"),
    )
    op.create_index("ix_workflows_source_status", "workflows", ["source", "status", "first_seen_at", "pk"])


def _steps() -> None:
    op.create_table(
        "steps",
        sa.Column("workflow", ROW_ID, nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("upstream_status", sa.Text()),
        sa.Column("status_at", INSTANT),
        sa.Column("status_seen_at", INSTANT, nullable=False),
        sa.Column("look_sent_at", INSTANT),
        sa.Column("look_date", INSTANT),
        sa.Column("confirmed_at", INSTANT),
        sa.Column("inferred_from", sa.Text()),
        sa.Column("alive_since", INSTANT),
        sa.Column("first_seen_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT),
        sa.Column("completed_at", INSTANT),
        sa.Column("finished_at", INSTANT),
        sa.Column("finished_via", sa.Text()),
        sa.Column("progress", sa.Float()),
        sa.Column("reason", sa.Text()),
        sa.Column("blocked_reason", sa.Text()),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("stamps", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workflow", "run", "key", name=op.f("pk_steps")),
        sa.CheckConstraint(
            "confirmed_at IS NULL OR status IN ('succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_steps_confirmed_is_terminal"),
        ),
        sa.CheckConstraint(
            "inferred_from IS NULL OR (status IN ('succeeded', 'failed', 'expired',"
            " 'canceled') AND confirmed_at IS NULL)",
            name=op.f("ck_steps_inferred_is_provisional"),
        ),
        sa.CheckConstraint(
            "status IN ('unassigned', 'preparing', 'scheduled', 'processing',"
            " 'succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_steps_status"),
        ),
        sa.ForeignKeyConstraint(["workflow"], ["workflows.pk"], name=op.f("fk_steps_workflow"), ondelete="CASCADE"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("workflow", ROW_ID, nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("step", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("upstream_status", sa.Text()),
        sa.Column("status_at", INSTANT),
        sa.Column("status_seen_at", INSTANT, nullable=False),
        sa.Column("look_sent_at", INSTANT),
        sa.Column("look_date", INSTANT),
        sa.Column("confirmed_at", INSTANT),
        sa.Column("inferred_from", sa.Text()),
        sa.Column("alive_since", INSTANT),
        sa.Column("first_seen_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT),
        sa.Column("completed_at", INSTANT),
        sa.Column("finished_at", INSTANT),
        sa.Column("finished_via", sa.Text()),
        sa.Column("progress", sa.Float()),
        sa.Column("reason", sa.Text()),
        sa.Column("blocked_reason", sa.Text()),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("stamps", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workflow", "run", "key", name=op.f("pk_jobs")),
        sa.CheckConstraint(
            "confirmed_at IS NULL OR status IN ('succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_jobs_confirmed_is_terminal"),
        ),
        sa.CheckConstraint(
            "inferred_from IS NULL OR (status IN ('succeeded', 'failed', 'expired',"
            " 'canceled') AND confirmed_at IS NULL)",
            name=op.f("ck_jobs_inferred_is_provisional"),
        ),
        sa.CheckConstraint(
            "status IN ('unassigned', 'preparing', 'scheduled', 'processing',"
            " 'succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_jobs_status"),
        ),
        sa.ForeignKeyConstraint(["workflow"], ["workflows.pk"], name=op.f("fk_jobs_workflow"), ondelete="CASCADE"),
    )
    op.create_index("ix_jobs_key", "jobs", ["key"])


def _blobs() -> None:
    op.create_table(
        "blobs",
        sa.Column("workflow", ROW_ID, nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text()),
        sa.Column("step", sa.Text()),
        sa.Column("job", sa.Text()),
        sa.Column("slot", sa.Text()),
        sa.Column("available", sa.Boolean()),
        sa.Column("url", sa.Text()),
        sa.Column("url_seen_at", INSTANT),
        sa.Column("url_expires_at", INSTANT),
        sa.Column("url_confirmed", sa.Boolean(), nullable=False),
        sa.Column("look_sent_at", INSTANT),
        sa.Column("media_expires_at", INSTANT),
        sa.Column("record_expires_at", INSTANT),
        sa.Column("gone_at", INSTANT),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workflow", "run", "id", name=op.f("pk_blobs")),
        sa.ForeignKeyConstraint(["workflow"], ["workflows.pk"], name=op.f("fk_blobs_workflow"), ondelete="CASCADE"),
    )
    op.create_index("ix_blobs_source_id", "blobs", ["source", "id"])
