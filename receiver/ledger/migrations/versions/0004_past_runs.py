"""What a workflow was at the end of each run but the last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT, ROW_ID

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "past_runs",
        sa.Column("workflow", ROW_ID, nullable=False),
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
        sa.Column("ending_delivered_at", INSTANT),
        sa.PrimaryKeyConstraint("workflow", "run", name=op.f("pk_past_runs")),
        sa.CheckConstraint(
            "confirmed_at IS NULL OR status IN ('succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_past_runs_confirmed_is_terminal"),
        ),
        sa.CheckConstraint(
            "inferred_from IS NULL OR (status IN ('succeeded', 'failed', 'expired',"
            " 'canceled') AND confirmed_at IS NULL)",
            name=op.f("ck_past_runs_inferred_is_provisional"),
        ),
        sa.CheckConstraint(
            "status IN ('unassigned', 'preparing', 'scheduled', 'processing',"
            " 'succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_past_runs_status"),
        ),
        sa.ForeignKeyConstraint(["workflow"], ["workflows.pk"], name=op.f("fk_past_runs_workflow"), ondelete="CASCADE"),
    )
