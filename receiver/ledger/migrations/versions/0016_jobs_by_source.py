"""Jobs know their source: a list of one source's jobs with a status finds them without meeting all others'."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, fill it, and put it first in the index."""
    op.drop_index("ix_jobs_status", "jobs")
    op.add_column("jobs", sa.Column("source", sa.Text(), nullable=False, server_default=""))
    op.execute("UPDATE jobs SET source = (SELECT w.source FROM workflows w WHERE w.pk = jobs.workflow)")
    op.create_index("ix_jobs_status", "jobs", ["source", "status", "first_seen_at", "workflow", "key"])
