"""Copies of outputs: what is to be copied, and what lies where."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT, ROW_ID

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "collected",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("workflow", ROW_ID),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("queued_at", INSTANT, nullable=False),
        sa.Column("due_at", INSTANT),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("place", sa.Text()),
        sa.Column("size", sa.BigInteger()),
        sa.Column("sha256", sa.Text()),
        sa.Column("type", sa.Text()),
        sa.Column("kept_at", INSTANT),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", INSTANT),
        sa.Column("leased_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collected")),
        sa.ForeignKeyConstraint(
            ["workflow"], ["workflows.pk"], name=op.f("fk_collected_workflow"), ondelete="SET NULL"
        ),
        sa.UniqueConstraint("workflow", "run", "blob", name=op.f("uq_collected_workflow_run_blob")),
        sa.CheckConstraint("state IN ('due', 'kept', 'failed')", name=op.f("ck_collected_state")),
    )
    op.create_index("ix_collected_source_blob", "collected", ["source", "blob"])
    op.create_index(
        "ix_collected_due",
        "collected",
        ["source", "due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.add_column("source_state", sa.Column("collecting_since", INSTANT))
