"""An index to claim each lane by, durations learned, what a probe found, evidence that waits for its workflow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; the index by lane takes the place of two."""
    op.drop_index("ix_checks_due", "checks")
    op.drop_index("ix_checks_source_lane", "checks")
    due = sa.text("due_at IS NOT NULL")
    op.create_index(
        "ix_checks_lane_due", "checks", ["source", "lane", "due_at"], postgresql_where=due, sqlite_where=due
    )
    nobody = sa.text("workflow IS NULL AND workflow_id IS NOT NULL")
    op.create_index(
        "ix_evidence_of_nobody", "evidence", ["source", "workflow_id"], postgresql_where=nobody, sqlite_where=nobody
    )
    op.add_column("source_state", sa.Column("probes_failed", sa.Integer()))
    op.add_column("source_state", sa.Column("brake_off_until", INSTANT))
    op.create_table(
        "durations",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("step_type", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("told", sa.Float(), nullable=False),
        sa.Column("missed", sa.Float(), nullable=False),
        sa.Column("learned_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("source", "model", "step_type", name="pk_durations"),
    )
