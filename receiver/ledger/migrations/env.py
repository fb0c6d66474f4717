"""What alembic runs: every step that is missing, over the connection and within the transaction of `migrate`."""

from __future__ import annotations

from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

from receiver.ledger import guards
from receiver.ledger.schema import metadata


def _after_step(ctx: MigrationContext, step: MigrationInfo, heads: Any, run_args: Any) -> None:
    # A step that rebuilds a table (SQLite can change little in place) loses its triggers with it; a step that adds a
    # table or a column of evidence needs more of them. So each ends with the guards anew.
    assert ctx.connection is not None
    guards.reinstall(ctx.connection)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    on_version_apply=_after_step,
)
context.run_migrations()
