"""The database's own refusals: what even a hand-typed UPDATE cannot do to the ledger.

- A confirmed ending is final: `status`, `run` and `confirmed_at` of its row stay (R2). Only a workflow whose ended run
  is kept in `past_runs` as it was may go on to the next run (R10).
- Evidence is never edited, but a hint may be given its workflow and number when a look confirms it, and a body may be
  pruned to null.
- `first_seen_at` of a workflow never changes (R14).

The same on both databases: a trigger per rule whose WHEN clause decides, so that nothing more runs for a lawful UPDATE.
`metadata.create_all` and every migration install them, and with them the triggers that count (see `counting`); the one
way past the first is `replay_permit`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import counting
from receiver.ledger.states import TERMINAL
from receiver.ledger.tables import metadata

_PREFIX = "guard_"
# What may change in a row of evidence, and how; everything else may not.
_EVIDENCE_MAY = {
    "workflow": "OLD.workflow IS NOT NULL AND NEW.workflow IS DISTINCT FROM OLD.workflow",
    "seq": "OLD.seq IS NOT NULL AND NEW.seq IS DISTINCT FROM OLD.seq",
    "body": "NEW.body IS NOT NULL AND NEW.body IS DISTINCT FROM OLD.body",
}

# 23514 is check_violation: SQLAlchemy's IntegrityError, as is SQLite's RAISE(ABORT).
_REFUSE = """
CREATE OR REPLACE FUNCTION hookledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = '23514';
END
$$
"""
# A WHEN clause of PostgreSQL cannot look into another table; this does, and runs only where something is wrong or new.
_REFUSE_ENDING = """
CREATE OR REPLACE FUNCTION hookledger_refuse_ending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF %s THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '%%', TG_ARGV[0] USING ERRCODE = '23514';
END
$$
"""
_NEXT_RUN = (
    "NEW.run = OLD.run + 1 AND EXISTS (SELECT 1 FROM past_runs p WHERE p.workflow = OLD.pk AND p.run = OLD.run"
    " AND p.status = OLD.status AND p.confirmed_at = OLD.confirmed_at)"
)
_GUARDS = {
    "sqlite": (
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
        " AND (name LIKE 'guard\\_%' ESCAPE '\\' OR name LIKE 'tally\\_%' ESCAPE '\\')"
    ),
    "postgresql": (
        "SELECT tgname, relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " WHERE NOT tgisinternal AND (tgname LIKE 'guard\\_%' OR tgname LIKE 'tally\\_%')"
        " AND relnamespace = current_schema()::regnamespace"
    ),
}
_PERMITTED = {
    "sqlite": "EXISTS (SELECT 1 FROM permits WHERE name = 'replay')",
    "postgresql": "coalesce(current_setting('hookledger.permit', true), '') = 'replay'",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """One refusal: an UPDATE of `table` for which `when` holds, and `unless` does not, fails with `message`."""

    table: str
    rule: str
    when: str
    message: str
    unless: str | None = None

    @property
    def name(self) -> str:
        """Return the trigger's name."""
        return f"{_PREFIX}{self.table}_{self.rule}"

    def create(self, dialect: str) -> str:
        """Return the statement that makes the trigger."""
        when = self.when
        if dialect == "sqlite":
            when += f" AND NOT ({self.unless})" if self.unless else ""
            action = f"BEGIN SELECT RAISE(ABORT, '{self.message}'); END"
        else:
            function = "hookledger_refuse_ending" if self.unless else "hookledger_refuse"
            action = f"EXECUTE FUNCTION {function}('{self.message}')"
        return f"CREATE TRIGGER {self.name} BEFORE UPDATE ON {self.table} FOR EACH ROW WHEN ({when}) {action}"


def guards(dialect: str, columns: Mapping[str, Sequence[str]]) -> list[Guard]:
    """Return the guards for a schema with these tables and their columns; a table it does not have yet has none."""
    endings = ", ".join(sorted(f"'{status}'" for status in TERMINAL))
    kept = ("status", "run", "confirmed_at")
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in kept)
    found = [
        Guard(
            table,
            "ending",
            f"OLD.confirmed_at IS NOT NULL AND OLD.status IN ({endings}) AND ({changed}) AND NOT {_PERMITTED[dialect]}",
            f"R2: a confirmed ending is final: status, run and confirmed_at of this row of {table} cannot change",
            _NEXT_RUN if table == "workflows" and "past_runs" in columns else None,
        )
        for table in ("workflows", "steps", "jobs", "past_runs")
        if table in columns
    ]
    if "workflows" in columns:
        found.append(
            Guard(
                "workflows",
                "first_seen",
                "NEW.first_seen_at IS DISTINCT FROM OLD.first_seen_at",
                "R14: first_seen_at of a workflow never changes",
            )
        )
    if "evidence" in columns:
        edits = [
            _EVIDENCE_MAY.get(column, f"NEW.{column} IS DISTINCT FROM OLD.{column}") for column in columns["evidence"]
        ]
        found.append(
            Guard(
                "evidence",
                "unedited",
                " OR ".join(f"({edit})" if " AND " in edit else edit for edit in edits),
                "evidence is never edited: only a missing workflow and seq may be filled in, and a body pruned to null",
            )
        )
    return found


def remove(conn: Connection) -> None:
    """Drop every guard and counter, within the caller's transaction. What a trigger reads can hardly be altered."""
    for name, table in conn.exec_driver_sql(_GUARDS[conn.dialect.name]).all():
        conn.exec_driver_sql(f"DROP TRIGGER {name}" + ("" if conn.dialect.name == "sqlite" else f" ON {table}"))


def reinstall(conn: Connection) -> None:
    """Drop every guard and counter and make those that the tables present call for, in the caller's transaction."""
    remove(conn)
    dialect = conn.dialect.name
    live = inspect(conn)
    tables = set(live.get_table_names())
    present = tables & {"workflows", "steps", "jobs", "past_runs", "evidence"}
    columns = {table: [column["name"] for column in live.get_columns(table)] for table in present}
    if dialect == "postgresql":
        conn.exec_driver_sql(_REFUSE)
        if "past_runs" in present:
            conn.exec_driver_sql(_REFUSE_ENDING % _NEXT_RUN)
    for guard in guards(dialect, columns):
        conn.exec_driver_sql(guard.create(dialect))
    for statement in counting.statements(dialect, tables):
        conn.exec_driver_sql(statement)


def _after_create(_target: Any, connection: Connection, **_: Any) -> None:
    reinstall(connection)


event.listen(metadata, "after_create", _after_create)


@asynccontextmanager
async def replay_permit(conn: AsyncConnection) -> AsyncIterator[None]:
    """Let confirmed endings be corrected inside this block of one transaction: `replay --apply` and nothing else (R2).

    Other transactions never see the permit, and it ends with this one at the latest.
    """
    if conn.dialect.name == "postgresql":
        await conn.exec_driver_sql("SELECT set_config('hookledger.permit', 'replay', true)")
        yield
        await conn.exec_driver_sql("SELECT set_config('hookledger.permit', '', true)")
    else:
        await conn.exec_driver_sql("INSERT INTO permits (name, until) VALUES ('replay', 'this transaction ends')")
        yield
        await conn.exec_driver_sql("DELETE FROM permits")
