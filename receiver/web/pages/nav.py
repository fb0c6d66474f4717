"""What every page shows beside its own: how much there is that a person should look at."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import overview
from receiver.ledger.query_parts import JsonObject


async def opened(connection: AsyncConnection) -> JsonObject:
    """Return `{"attention": how many reasons to look are open that nobody has acknowledged}`."""
    return {"attention": await overview.unacknowledged(connection)}
