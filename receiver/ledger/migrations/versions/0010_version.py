"""How often a workflow has been written, so that a copy of it can be told from the truth."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("workflows", sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"))
