"""What is to be done and who should look: checks, attention, passes, sources, rejections, API tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT, ROW_ID

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _checks()
    _attention()
    _passes()
    _source_state()
    _rejections()
    _tokens()


def _checks() -> None:
    op.create_table(
        "checks",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workflow", ROW_ID),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("due_at", INSTANT),
        sa.Column("wanted_at", INSTANT),
        sa.Column("hinted_at", INSTANT),
        sa.Column("hints", sa.Integer(), nullable=False),
        sa.Column("doubted_at", INSTANT),
        sa.Column("tried_at", INSTANT),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("misses", sa.Integer(), nullable=False),
        sa.Column("retry_at", INSTANT),
        sa.Column("last_error", sa.Text()),
        sa.Column("seen_sha256", sa.Text()),
        sa.Column("seen_evidence", sa.Text()),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", INSTANT),
        sa.Column("leased_by", sa.Text()),
        sa.PrimaryKeyConstraint("source", "id", name=op.f("pk_checks")),
        sa.CheckConstraint("lane IN ('interactive', 'fresh', 'hints', 'standing')", name=op.f("ck_checks_lane")),
    )
    op.create_index(
        "ix_checks_due",
        "checks",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_checks_source_lane", "checks", ["source", "lane"])


def _attention() -> None:
    op.create_table(
        "attention",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("workflow", ROW_ID),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("evidence", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("acknowledged_at", INSTANT),
        sa.Column("acknowledged_by", sa.Text()),
        sa.Column("closed_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attention")),
        sa.CheckConstraint(
            "kind IN ('overdue', 'gone', 'unreachable', 'refused', 'credentials',"
            " 'contradicted', 'uncollected', 'unreadable')",
            name=op.f("ck_attention_kind"),
        ),
        sa.CheckConstraint("scope IN ('source', 'workflow', 'delivery')", name=op.f("ck_attention_scope")),
        sa.ForeignKeyConstraint(["workflow"], ["workflows.pk"], name=op.f("fk_attention_workflow"), ondelete="CASCADE"),
    )
    op.create_index("ix_attention_workflow", "attention", ["workflow"])
    op.create_index(
        "uq_attention_open",
        "attention",
        ["source", "scope", "subject", "kind"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
        sqlite_where=sa.text("closed_at IS NULL"),
    )


def _passes() -> None:
    op.create_table(
        "passes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passes")),
    )


def _source_state() -> None:
    op.create_table(
        "source_state",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("paused_until", INSTANT),
        sa.Column("paused_because", sa.Text()),
        sa.Column("probe_at", INSTANT),
        sa.Column("clock_offset", sa.Float()),
        sa.Column("keys", sa.Text()),
        sa.Column("keys_fetched_at", INSTANT),
        sa.Column("hint_window_at", INSTANT),
        sa.Column("hint_count", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_source_state")),
    )


def _rejections() -> None:
    op.create_table(
        "rejections",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", INSTANT, nullable=False),
        sa.Column("samples", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "reason", name=op.f("pk_rejections")),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("last_used_at", INSTANT),
        sa.Column("revoked_at", INSTANT),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tokens")),
        sa.CheckConstraint("scope IN ('read', 'write', 'admin')", name=op.f("ck_tokens_scope")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
