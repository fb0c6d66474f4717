"""Registering submitted workflows as `hookledger track` does, many at once and a while ago."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.config import load_config
from receiver.ledger.apply import apply
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Entry
from receiver.ledger.records import EvidenceKind
from receiver.providers import provider_named
from tests.staging.programs import Stage

# The first look at fresh work is due after two seconds (UPSTREAMS §1.4).
LATELY = timedelta(seconds=3)


async def register(
    stage: Stage, database: Database, submitted: Sequence[dict[str, Any]], *, ago: timedelta = LATELY
) -> None:
    """Put submit answers into the ledger as of some time ago, so that a look at each is due now."""
    policy = load_config(stage.config, {}).policy("civitai")
    entries = []
    for answer in submitted:
        reading = provider_named("civitai").track(answer, None)
        at = datetime.now(UTC) - ago
        entries.append(Entry("civitai", policy, EvidenceKind.DECISION, at, answer["id"], reading))
    async with database.write() as connection:
        await apply(connection, entries, await now(connection) - ago)
