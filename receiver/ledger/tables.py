"""The ledger's tables. The migrations make the same schema, and a test compares the two in full.

Keys: a workflow is named (source, id) by the world and `pk` inside; what hangs on it carries `workflow` = its pk and
`run` (R10). Everything of a workflow is written only under its row lock. Evidence is referred to by id without a
foreign key, so that it can be partitioned and pruned by time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from receiver.ledger.columns import CurrentTransaction, Instant, Json, Labels, RowId
from receiver.ledger.records import EvidenceKind, Level, TransitionKind, Trust
from receiver.ledger.states import Status

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ATTENTION_KINDS = (
    "overdue", "gone", "unreachable", "refused", "credentials", "contradicted", "uncollected", "unreadable",
)  # fmt: skip
ATTENTION_SCOPES = ("source", "workflow", "delivery")
LANES = ("interactive", "fresh", "hints", "standing")
SCOPES = ("read", "write", "admin")
SELDOM = "outcome NOT IN ('applied', 'recorded')"


def one_of(column: str, values: Any) -> CheckConstraint:
    """Return the constraint that a column holds one of these words. Its name differs per column, as it must."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def only(condition: str) -> dict[str, Any]:
    """Return the options of an index that only rows for which this holds are in."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


def _node_columns() -> list[Column[Any] | CheckConstraint]:
    """Return the columns that a workflow, a step and a job have alike; see `nodes.Node` for what each means."""
    return [
        Column("status", Text, nullable=False),
        Column("upstream_status", Text),
        Column("status_at", Instant),
        Column("status_seen_at", Instant, nullable=False),
        Column("look_sent_at", Instant),
        Column("look_date", Instant),
        Column("confirmed_at", Instant),
        Column("inferred_from", Text),
        Column("alive_since", Instant),
        Column("first_seen_at", Instant, nullable=False),
        Column("started_at", Instant),
        Column("completed_at", Instant),
        Column("finished_at", Instant),
        Column("finished_via", Text),
        Column("progress", Float),
        Column("reason", Text),
        Column("blocked_reason", Text),
        Column("facts", Json, nullable=False),
        Column("stamps", Json, nullable=False),
        one_of("status", Status),
        CheckConstraint(
            "inferred_from IS NULL OR (status IN ('succeeded', 'failed', 'expired', 'canceled')"
            " AND confirmed_at IS NULL)",
            name="inferred_is_provisional",
        ),
        CheckConstraint(
            "confirmed_at IS NULL OR status IN ('succeeded', 'failed', 'expired', 'canceled')",
            name="confirmed_is_terminal",
        ),
    ]


workflows = Table(
    "workflows",
    metadata,
    Column("pk", RowId, Identity(always=False), primary_key=True),
    Column("source", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("run", Integer, nullable=False),
    *_node_columns(),
    Column("first_seen_via", Text, nullable=False),
    Column("submitted_at", Instant),
    Column("news_at", Instant),  # the last new believed delivery
    Column("asked_at", Instant),  # when the last look that got an answer was sent
    Column("ending_delivered_at", Instant),  # the first delivery that named the ending (R18)
    Column("vanished_at", Instant),  # the confirming look met a 404 (R9)
    Column("ephemeral", Boolean),
    Column("model", Text),
    Column("output_format", Text),
    Column("request", Json),
    Column("source_media", Json),
    Column("usage", Json),
    Column("error", Json),
    Column("ref", Text),
    Column("locator", Json),
    Column("context", Labels),
    Column("evidence_seq", Integer, nullable=False),
    Column("transition_seq", Integer, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="0"),  # another with every writing (see `recent`)
    UniqueConstraint("source", "id"),
    Index("ix_workflows_first_seen", "first_seen_at", "pk"),
    Index("ix_workflows_source_status", "source", "status", "first_seen_at", "pk"),
    # By their beginnings too, whatever collation the database has.
    Index("ix_workflows_id", "id", postgresql_ops={"id": "text_pattern_ops"}),
    Index(
        "ix_workflows_ref",
        "ref",
        postgresql_ops={"ref": "text_pattern_ops"},
        **only("ref IS NOT NULL"),
    ),
)


def _workflow() -> Column[Any]:
    return Column("workflow", RowId, ForeignKey("workflows.pk", ondelete="CASCADE"), primary_key=True)


steps = Table(
    "steps",
    metadata,
    _workflow(),
    Column("run", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    *_node_columns(),
)

# What a workflow was at the end of a run, kept when the next run begins (R10). The guard lets `workflows` move on to
# the next run only once this row is there.
past_runs = Table(
    "past_runs",
    metadata,
    _workflow(),
    Column("run", Integer, primary_key=True),
    *_node_columns(),
    Column("ending_delivered_at", Instant),
)

jobs = Table(
    "jobs",
    metadata,
    _workflow(),
    Column("run", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("step", Text),
    *_node_columns(),
    Column("source", Text, nullable=False, server_default=""),  # the workflow's, for lists
    Index("ix_jobs_key", "key", postgresql_ops={"key": "text_pattern_ops"}),
    Index("ix_jobs_first_seen", "first_seen_at", "workflow", "key"),
    Index("ix_jobs_status", "source", "status", "first_seen_at", "workflow", "key"),
)

blobs = Table(
    "blobs",
    metadata,
    _workflow(),
    Column("run", Integer, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("type", Text),
    Column("step", Text),
    Column("job", Text),
    Column("slot", Text),
    Column("available", Boolean),
    Column("url", Text),
    Column("url_seen_at", Instant),  # when the URL was learned: with the expiry, its lifetime
    Column("url_expires_at", Instant),
    Column("url_confirmed", Boolean, nullable=False),  # from a look or a signed delivery: may be served (R17)
    Column("look_sent_at", Instant),
    Column("media_expires_at", Instant),
    Column("record_expires_at", Instant),
    Column("gone_at", Instant),
    Column("facts", Json, nullable=False),
    Index("ix_blobs_source_id", "source", "id", postgresql_ops={"id": "text_pattern_ops"}),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("workflow", RowId),  # null while no workflow is known by that id
    Column("workflow_id", Text),
    Column("seq", Integer),  # numbered per workflow, under its row lock
    Column("kind", Text, nullable=False),
    Column("trust", Text),
    Column("outcome", Text, nullable=False),
    Column("problem", Text),
    Column("identity", Text),
    Column("sent_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    Column("http_status", Integer),
    Column("http_date", Instant),
    Column("headers", Json),
    Column("body", LargeBinary),
    Column("body_sha256", Text),
    Column("same_as", Text),  # the evidence that holds this very body
    Column("decision", Json),
    Column("code_version", Text, nullable=False),
    one_of("kind", EvidenceKind),
    CheckConstraint(f"trust IS NULL OR trust IN ({', '.join(repr(str(t)) for t in Trust)})", name="trust"),
    Index("ix_evidence_workflow_seq", "workflow", "seq"),
    Index("ix_evidence_source_kind", "source", "kind", "recorded_at", "id"),
    # Few deliveries are anything but applied or recorded.
    Index("ix_evidence_seldom", "source", "outcome", "recorded_at", "id", **only(SELDOM)),
    # What a workflow that a look makes later is to be found by, and what retention looks through.
    Index("ix_evidence_of_nobody", "source", "workflow_id", **only("workflow IS NULL")),
)

delivery_keys = Table(
    "delivery_keys",
    metadata,
    Column("source", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("identity", Text),
    Column("evidence", Text, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("count", Integer, nullable=False),
    Index("ix_delivery_keys_identity", "source", "identity", **only("identity IS NOT NULL")),
)

transitions = Table(
    "transitions",
    metadata,
    _workflow(),
    Column("seq", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("level", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("from_status", Text),
    Column("to_status", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("upstream_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    # PostgreSQL's number of the transaction that wrote the row: who follows what happens needs to know which rows were
    # committed after he last looked, and neither a clock nor a sequence tells that (see `happenings`). Null on SQLite,
    # where the order of the rows does.
    Column("tx", BigInteger, server_default=CurrentTransaction()),
    one_of("level", Level),
    one_of("to_status", Status),
    one_of("kind", TransitionKind),
    Index("ix_transitions_tx", "tx", **only("tx IS NOT NULL")),
)

checks = Table(
    "checks",
    metadata,
    Column("source", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("workflow", RowId),  # null for a hint about an id that no look has confirmed yet (R9)
    Column("reasons", Json, nullable=False),  # {"silence": "<instant>", …}; the earliest is due_at
    Column("lane", Text, nullable=False),
    Column("due_at", Instant),
    Column("wanted_at", Instant),
    Column("hinted_at", Instant),
    Column("hints", Integer, nullable=False),
    Column("doubted_at", Instant),
    Column("tried_at", Instant),
    Column("attempts", Integer, nullable=False),  # tries of this round that failed or are under way
    Column("looks", Integer, nullable=False),  # looks that got an answer
    Column("misses", Integer, nullable=False),  # 404s in a row
    Column("retry_at", Instant),  # nothing before this instant, whatever the reasons
    Column("last_error", Text),
    Column("seen_sha256", Text),  # the last answer's body, and the evidence that holds it: the same again is kept once
    Column("seen_evidence", Text),
    Column("fence", BigInteger, nullable=False),
    Column("leased_until", Instant),
    Column("leased_by", Text),
    Column("alone_until", Instant),  # a read for many did not answer for it: until then it is asked about by itself
    one_of("lane", LANES),
    Index("ix_checks_lane_due", "source", "lane", "due_at", **only("due_at IS NOT NULL")),
    # Few have failed before, or are to be asked about by themselves: they are found among all that are due. By
    # nothing that a claim changes: PostgreSQL would write the row into every index again.
    Index("ix_checks_failed", "source", "lane", "due_at", **only("last_error IS NOT NULL AND due_at IS NOT NULL")),
    Index("ix_checks_alone", "source", "lane", "due_at", **only("alone_until IS NOT NULL AND due_at IS NOT NULL")),
    postgresql_with={"fillfactor": 85},  # room for claims, beside which nothing but the page of the row is written
)

attention = Table(
    "attention",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),  # '' for a source, the workflow's id, the delivery's id
    Column("workflow", RowId, ForeignKey("workflows.pk", ondelete="CASCADE")),
    Column("kind", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("evidence", Text),
    Column("note", Text),
    Column("acknowledged_at", Instant),
    Column("acknowledged_by", Text),
    Column("closed_at", Instant),
    one_of("scope", ATTENTION_SCOPES),
    one_of("kind", ATTENTION_KINDS),
    Index(
        "uq_attention_open",
        "source",
        "scope",
        "subject",
        "kind",
        unique=True,
        **only("closed_at IS NULL"),
    ),
    Index("ix_attention_workflow", "workflow"),
)
