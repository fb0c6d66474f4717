"""Figures kept as the ledger changes, labels that lists find, transitions that can be followed, who wrote what."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from receiver.ledger.migrations.types import INSTANT, ROW_ID

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PART = 1000


def upgrade() -> None:
    """Make the tables and indexes, and fill them from what is there."""
    _tables()
    _indexes()
    _transactions()
    _label_what_is_there()
    _count_what_is_there()


def _tables() -> None:
    op.create_table(
        "labels",
        sa.Column("workflow", ROW_ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("first_seen_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("workflow", "digest", name=op.f("pk_labels")),
        sa.ForeignKeyConstraint(["workflow"], ["workflows.pk"], name=op.f("fk_labels_workflow"), ondelete="CASCADE"),
    )
    op.create_index("ix_labels_digest", "labels", ["digest", "first_seen_at", "workflow"])
    op.create_table(
        "figure_deltas",
        sa.Column("id", ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("delta", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_figure_deltas")),
    )
    op.create_table(
        "figures",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "span", "at", name=op.f("pk_figures")),
        sa.CheckConstraint("span IN ('total', 'minute', 'hour')", name=op.f("ck_figures_span")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("subject", sa.Text()),
        sa.Column("details", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])


def _indexes() -> None:
    """By their beginnings, whatever the database's collation; and jobs in the order in which they are listed."""
    for name, table, columns, partial in (
        ("ix_workflows_id", "workflows", ["id"], None),
        ("ix_workflows_ref", "workflows", ["ref"], sa.text("ref IS NOT NULL")),
        ("ix_jobs_key", "jobs", ["key"], None),
        ("ix_blobs_source_id", "blobs", ["source", "id"], None),
    ):
        op.drop_index(name, table)
        op.create_index(
            name,
            table,
            columns,
            postgresql_ops={columns[-1]: "text_pattern_ops"},
            postgresql_where=partial,
            sqlite_where=partial,
        )
    op.create_index("ix_jobs_first_seen", "jobs", ["first_seen_at", "workflow", "key"])


def _transactions() -> None:
    written = sa.text("tx IS NOT NULL")
    if op.get_bind().dialect.name == "postgresql":
        # In two steps: rows that are there already get none.
        op.add_column("transitions", sa.Column("tx", sa.BigInteger()))
        op.alter_column("transitions", "tx", server_default=sa.text("pg_current_xact_id()::text::bigint"))
    else:
        op.add_column("transitions", sa.Column("tx", sa.BigInteger(), server_default=sa.text("NULL")))
    op.create_index("ix_transitions_tx", "transitions", ["tx"], postgresql_where=written, sqlite_where=written)


def _label_what_is_there() -> None:
    bind = op.get_bind()
    insert = sa.text("INSERT INTO labels (workflow, digest, first_seen_at) VALUES (:workflow, :digest, :at)")
    for row in _contexts(bind):
        context = orjson.loads(row.context) if isinstance(row.context, str) else row.context
        for key, value in (context or {}).items():
            name = sha256(f"{len(key)}:{key}{value}".encode("utf-8", "surrogatepass")).digest()[:16]
            bind.execute(insert, {"workflow": row.pk, "digest": name, "at": row.first_seen_at})


def _contexts(bind: sa.Connection) -> Iterator[Any]:
    query = sa.text(
        "SELECT pk, context, first_seen_at FROM workflows WHERE context IS NOT NULL AND pk > :after"
        " ORDER BY pk LIMIT :part"
    )
    after = -1
    while rows := bind.execute(query, {"after": after, "part": _PART}).all():
        yield from rows
        after = rows[-1].pk


def _count_what_is_there() -> None:
    """Fill the totals. The series begin now: what was learned when is not worth reading a whole ledger for."""
    bind = op.get_bind()
    totals: dict[str, dict[str, int]] = {}
    for source, status, count in bind.exec_driver_sql(
        "SELECT source, status, count(*) FROM workflows GROUP BY source, status"
    ).all():
        totals.setdefault(source, {})[f"status.{status}"] = count
    for source, kind, count in bind.exec_driver_sql(
        "SELECT source, kind, count(*) FROM attention WHERE closed_at IS NULL GROUP BY source, kind"
    ).all():
        totals.setdefault(source, {})[f"attention.{kind}"] = count
    insert = sa.text("INSERT INTO figures (source, span, at, counts) VALUES (:source, 'total', :at, :counts)")
    bound = insert.bindparams(sa.bindparam("at", type_=INSTANT))
    at: Any = "1970-01-01T00:00:00.000000+00:00"
    if bind.dialect.name == "postgresql":
        at = sa.text("SELECT TIMESTAMPTZ '1970-01-01 00:00:00+00'")
        at = bind.execute(at).scalar_one()
    for source, counts in totals.items():
        bind.execute(bound, {"source": source, "at": at, "counts": orjson.dumps(counts).decode()})
