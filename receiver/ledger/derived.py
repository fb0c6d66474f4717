"""Tables that hold nothing of their own: labels and figures, which could be made anew from all the others."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Identity, Index, LargeBinary, Table, Text

from receiver.ledger.columns import Instant, Json, RowId
from receiver.ledger.tables import metadata, one_of

SPANS = ("total", "minute", "hour")

# The labels of a workflow's context, one row each, so that lists find them: `digest` is over key and value, which may
# be longer than an index takes. Written only when the context changes.
labels = Table(
    "labels",
    metadata,
    Column("workflow", RowId, ForeignKey("workflows.pk", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("first_seen_at", Instant, nullable=False),  # the workflow's: a list's order is the index's
    Index("ix_labels_digest", "digest", "first_seen_at", "workflow"),
)

# What batches added to the figures, until it is folded into them (see `figures` and `tallies`).
figure_deltas = Table(
    "figure_deltas",
    metadata,
    Column("id", RowId, Identity(always=False), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("delta", Json, nullable=False),  # [[source, minute or 0, {name: number}], …]
)

figures = Table(
    "figures",
    metadata,
    Column("source", Text, primary_key=True),
    Column("span", Text, primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("counts", Json, nullable=False),
    one_of("span", SPANS),
)
