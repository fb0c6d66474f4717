"""The table of copies of outputs, in a folder or a bucket (`collect`).

A row outlives its workflow, so that its bytes can be removed.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from receiver.ledger.columns import Instant, RowId
from receiver.ledger.tables import metadata, one_of

COPY_STATES = ("due", "kept", "failed")

collected = Table(
    "collected",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("workflow", RowId, ForeignKey("workflows.pk", ondelete="SET NULL")),
    Column("run", Integer, nullable=False),
    Column("blob", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("queued_at", Instant, nullable=False),
    Column("due_at", Instant),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Column("place", Text),  # set before the bytes are put there: whatever happens in between, nothing is orphaned
    Column("size", BigInteger),
    Column("sha256", Text),
    Column("type", Text),  # as the file's server said
    Column("kept_at", Instant),
    Column("fence", BigInteger, nullable=False),
    Column("leased_until", Instant),
    Column("leased_by", Text),
    one_of("state", COPY_STATES),
    UniqueConstraint("workflow", "run", "blob"),
    Index("ix_collected_source_blob", "source", "blob"),
    Index(
        "ix_collected_due",
        "source",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)
