"""Evidence, the keys that tell repeated deliveries, and the transitions evidence caused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT, ROW_ID

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _evidence()
    _delivery_keys()
    _transitions()


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("workflow", ROW_ID),
        sa.Column("workflow_id", sa.Text()),
        sa.Column("seq", sa.Integer()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("identity", sa.Text()),
        sa.Column("sent_at", INSTANT),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("http_date", INSTANT),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("body_sha256", sa.Text()),
        sa.Column("same_as", sa.Text()),
        sa.Column("decision", sa.Text()),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.CheckConstraint("kind IN ('delivery', 'fetch', 'decision')", name=op.f("ck_evidence_kind")),
        sa.CheckConstraint(
            "trust IS NULL OR trust IN ('signed', 'token', 'hint', 'none')", name=op.f("ck_evidence_trust")
        ),
    )
    op.create_index("ix_evidence_source_recorded", "evidence", ["source", "recorded_at"])
    op.create_index("ix_evidence_workflow_seq", "evidence", ["workflow", "seq"])


def _delivery_keys() -> None:
    op.create_table(
        "delivery_keys",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text()),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("first_at", INSTANT, nullable=False),
        sa.Column("last_at", INSTANT, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", "key", name=op.f("pk_delivery_keys")),
    )
    op.create_index(
        "ix_delivery_keys_identity",
        "delivery_keys",
        ["source", "identity"],
        postgresql_where=sa.text("identity IS NOT NULL"),
        sqlite_where=sa.text("identity IS NOT NULL"),
    )


def _transitions() -> None:
    op.create_table(
        "transitions",
        sa.Column("workflow", ROW_ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("from_status", sa.Text()),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("upstream_at", INSTANT),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("workflow", "seq", name=op.f("pk_transitions")),
        sa.CheckConstraint(
            "kind IN ('applied', 'corrected', 'inferred', 'retracted', 'contradiction')",
            name=op.f("ck_transitions_kind"),
        ),
        sa.CheckConstraint("level IN ('workflow', 'step', 'job')", name=op.f("ck_transitions_level")),
        sa.CheckConstraint(
            "to_status IN ('unassigned', 'preparing', 'scheduled', 'processing',"
            " 'succeeded', 'failed', 'expired', 'canceled')",
            name=op.f("ck_transitions_to_status"),
        ),
        sa.ForeignKeyConstraint(
            ["workflow"], ["workflows.pk"], name=op.f("fk_transitions_workflow"), ondelete="CASCADE"
        ),
    )
