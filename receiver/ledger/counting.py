"""Triggers that keep the figures of what the hot path does not write: attention, and workflows that are forgotten.

Both are rare, so a trigger costs nothing that matters, and nobody who opens, closes or deletes can forget to count.
What batches of evidence change is counted in memory instead (see `figures`).
"""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "tally_"

# name of the figure, by how much it changes; the row's alias is OLD or NEW.
_COUNT = """
CREATE OR REPLACE FUNCTION hookledger_count() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  this record;
BEGIN
  IF TG_OP = 'DELETE' THEN this := OLD; ELSE this := NEW; END IF;
  INSERT INTO figure_deltas (at, delta) VALUES (clock_timestamp(), json_build_array(json_build_array(
    this.source, 0, json_build_object(TG_ARGV[0] || (to_jsonb(this) ->> TG_ARGV[1]), TG_ARGV[2]::int)))::text);
  RETURN NULL;
END
$$
"""
# (name, table, event, when, prefix of the figure, column that names it, difference)
_TRIGGERS = (
    ("opened", "attention", "INSERT", "NEW.closed_at IS NULL", "attention.", "kind", 1),
    ("closed", "attention", "UPDATE", "OLD.closed_at IS NULL AND NEW.closed_at IS NOT NULL", "attention.", "kind", -1),
    ("again", "attention", "UPDATE", "OLD.closed_at IS NOT NULL AND NEW.closed_at IS NULL", "attention.", "kind", 1),
    ("gone", "attention", "DELETE", "OLD.closed_at IS NULL", "attention.", "kind", -1),
    ("forgotten", "workflows", "DELETE", "OLD.source IS NOT NULL", "status.", "status", -1),
)


def statements(dialect: str, tables: Iterable[str]) -> list[str]:
    """Return the statements that make the triggers; none before there is a table to count in."""
    present = set(tables)
    if "figure_deltas" not in present:
        return []
    made = [_COUNT] if dialect == "postgresql" else []
    return made + [_statement(dialect, *one) for one in _TRIGGERS if one[1] in present]


def _statement(
    dialect: str, name: str, table: str, event: str, when: str, prefix: str, column: str, change: int
) -> str:
    head = f"CREATE TRIGGER {PREFIX}{table}_{name} AFTER {event} ON {table} FOR EACH ROW WHEN ({when})"
    if dialect == "postgresql":
        return f"{head} EXECUTE FUNCTION hookledger_count('{prefix}', '{column}', '{change}')"
    row = "OLD" if event == "DELETE" else "NEW"
    delta = f"json_array(json_array({row}.source, 0, json_object('{prefix}' || {row}.{column}, {change})))"
    now = "strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000+00:00'"
    return f"{head} BEGIN INSERT INTO figure_deltas (at, delta) VALUES ({now}, {delta}); END"
