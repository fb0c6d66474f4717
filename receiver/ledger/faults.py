"""Whose fault it is that a transaction failed: the data's, another transaction's, or the database's."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

# SQLSTATEs of PostgreSQL. Those of a transaction that would have done well alone:
ABORTED = ("40001", "40P01")
# Somebody holds a row, and did not let go within the lock timeout.
HELD = "55P03"
# And the classes that say that the data was at fault: a key twice in one statement (21), a value (22), a constraint
# (23), something too large (54), or our own guard (P0). Everything else is the server's state or the schema's, which
# a retry can find mended.
_AT_FAULT = ("21", "22", "23", "54", "P0")
# SQLite has no such codes; its OperationalError is a full disk, a lock, a missing table.
_AT_FAULT_SQLITE = {"IntegrityError", "DataError", "InterfaceError", "ProgrammingError"}


def sqlstate(error: DBAPIError) -> str | None:
    """Return PostgreSQL's code for an error; None when it has none, as when no server said it, and on SQLite."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def data_at_fault(error: DBAPIError, dialect: str) -> bool:
    """Whether a statement failed because of what it was to write, and not because of the database's state."""
    if error.connection_invalidated:
        return False
    if dialect == "postgresql":
        # Without a code it is the driver that complains, most likely of a connection that is going.
        return (sqlstate(error) or "").startswith(_AT_FAULT)
    return not _AT_FAULT_SQLITE.isdisjoint(kind.__name__ for kind in type(error).__mro__)
