"""What is done now and then for a whole source: who does it, how far it has come, what it found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "chores",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("leased_until", INSTANT),
        sa.Column("leased_by", sa.Text()),
        sa.Column("begun_at", INSTANT),
        sa.Column("ended_at", INSTANT),
        sa.Column("outcome", sa.Text()),
        sa.Column("progress", sa.Text()),
        sa.Column("found", sa.Text()),
        sa.PrimaryKeyConstraint("kind", "source", name=op.f("pk_chores")),
    )
