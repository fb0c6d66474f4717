"""The whole schema as the code wants it: every table, and the guards. `metadata` from here is complete."""

from __future__ import annotations

from receiver.ledger import collected, derived, guards, operations
from receiver.ledger.tables import metadata

__all__ = ["collected", "derived", "guards", "metadata", "operations"]
