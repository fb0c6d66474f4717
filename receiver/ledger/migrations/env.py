"""What alembic runs: every step that is missing, over the connection and within the transaction of `migrate`."""

from __future__ import annotations

from alembic import context

from receiver.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
