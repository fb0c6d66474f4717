"""Column types as the migrations mean them: frozen, whatever becomes of `receiver.ledger.columns`."""

from __future__ import annotations

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB

INSTANT = Text().with_variant(DateTime(timezone=True), "postgresql")
LABELS = Text().with_variant(JSONB(), "postgresql")
ROW_ID = BigInteger().with_variant(Integer(), "sqlite")
