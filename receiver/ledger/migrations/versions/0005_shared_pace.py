"""What all reconcilers share of a source: requests sent, a pause upstream asked for, who wants its signer's keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("source_state", sa.Column("requests", sa.Text()))
    op.add_column("source_state", sa.Column("busy_until", INSTANT))
    op.add_column("source_state", sa.Column("keys_wanted_at", INSTANT))
    op.add_column("source_state", sa.Column("keys_tried_at", INSTANT))
    op.add_column("checks", sa.Column("alone_until", INSTANT))
