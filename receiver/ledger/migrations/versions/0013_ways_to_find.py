"""What lists need at size: jobs by status, seldom evidence, and workflows by the types of their steps."""

from __future__ import annotations

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# As `json`, which reads the one key and minds nothing else.
_POSTGRES = """
INSERT INTO labels (workflow, digest, first_seen_at)
SELECT DISTINCT pk, substring(sha256(convert_to('step:' || kind, 'UTF8')) FOR 16), first_seen_at
FROM (
  SELECT w.pk, w.first_seen_at, CAST(s.facts AS json) -> 'type' AS given, CAST(s.facts AS json) ->> 'type' AS kind
  FROM steps s JOIN workflows w ON w.pk = s.workflow AND w.run = s.run
) typed WHERE json_typeof(given) = 'string'
"""
_SQLITE_TYPES = """
SELECT DISTINCT CASE WHEN json_type(facts, '$.type') = 'text' THEN json_extract(facts, '$.type') END FROM steps
"""
_SQLITE = """
INSERT INTO labels (workflow, digest, first_seen_at) SELECT DISTINCT w.pk, ?, w.first_seen_at
FROM steps s JOIN workflows w ON w.pk = s.workflow AND w.run = s.run
WHERE json_type(s.facts, '$.type') = 'text' AND json_extract(s.facts, '$.type') = ?
"""


def upgrade() -> None:
    """Make the indexes, and label what is there."""
    op.create_index("ix_jobs_status", "jobs", ["status", "first_seen_at", "workflow", "key"])
    op.drop_index("ix_evidence_source_recorded", "evidence")
    op.create_index("ix_evidence_source_kind", "evidence", ["source", "kind", "recorded_at", "id"])
    seldom = sa.text("outcome NOT IN ('applied', 'recorded')")
    columns = ["source", "outcome", "recorded_at", "id"]
    op.create_index("ix_evidence_seldom", "evidence", columns, postgresql_where=seldom, sqlite_where=seldom)
    op.drop_index("ix_evidence_of_nobody", "evidence")
    nobody = sa.text("workflow IS NULL")
    columns = ["source", "workflow_id"]
    op.create_index("ix_evidence_of_nobody", "evidence", columns, postgresql_where=nobody, sqlite_where=nobody)
    _label_types()


def _label_types() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        bind.exec_driver_sql(_POSTGRES)
        return
    for (kind,) in bind.exec_driver_sql(_SQLITE_TYPES).all():
        if kind is not None:
            digest = sha256(f"step:{kind}".encode("utf-8", "surrogatepass")).digest()[:16]
            bind.exec_driver_sql(_SQLITE, (digest, kind))
