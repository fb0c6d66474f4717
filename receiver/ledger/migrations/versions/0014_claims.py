"""Checks that have failed before, and those that are asked about by themselves, found among very many that are due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    columns = ["source", "lane", "due_at"]
    failed = sa.text("attempts > 0 AND due_at IS NOT NULL")
    op.create_index("ix_checks_failed", "checks", columns, postgresql_where=failed, sqlite_where=failed)
    alone = sa.text("alone_until IS NOT NULL AND due_at IS NOT NULL")
    op.create_index("ix_checks_alone", "checks", columns, postgresql_where=alone, sqlite_where=alone)
