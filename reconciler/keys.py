"""The public keys that some upstreams sign with: fetched ahead of need and on demand, at most once a minute (R9).

The receiver has no HTTP client: when it cannot check a signature it leaves a wish in the database, and answers 503.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.database import Database, now
from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject
from receiver.logs import log_event
from receiver.providers.base import ProviderError, Request
from reconciler import pauses
from reconciler.source import Source
from reconciler.transport import ElsewhereRefused, Transport

EVERY = timedelta(minutes=1)
# Well before they may be relied on no more: fal's for 24 h (UPSTREAMS §5.2).
RENEW_AFTER = timedelta(hours=6)
_LOOK_EVERY = 0.4  # seconds


async def wanted(connection: AsyncConnection, sources: Mapping[str, Source], now: datetime) -> list[str]:
    """Return the sources whose keys are to be fetched now: asked for, missing, or about to be too old."""
    s = source_state.c
    query = select(s.source, s.keys_fetched_at, s.keys_wanted_at, s.keys_tried_at)
    rows = {row.source: row for row in await connection.execute(query.where(s.source.in_(sorted(sources))))}
    found: list[str] = []
    for name in sorted(sources):
        row = rows.get(name)
        if row is not None and row.keys_tried_at is not None and row.keys_tried_at > now - EVERY:
            continue
        fetched_at = row.keys_fetched_at if row is not None else None
        if (
            row is None
            or row[1] is None
            or row.keys_wanted_at is not None
            or fetched_at is None
            or fetched_at <= now - RENEW_AFTER
        ):
            found.append(name)
    return found


async def reserve(connection: AsyncConnection, source: str, now: datetime) -> bool:
    """Take this minute's one request for a source's keys for ourselves; False when another process was quicker."""
    await pauses.put(connection, source, {})
    s = source_state.c
    free = or_(s.keys_tried_at.is_(None), s.keys_tried_at <= now - EVERY)
    statement = update(source_state).where(s.source == source, free).values(keys_tried_at=now).returning(s.source)
    return (await connection.execute(statement)).first() is not None


async def fetch(source: Source) -> tuple[JsonObject, datetime] | None:
    """Ask upstream for its keys, wherever the provider says they are; None where it publishes none.

    Returns them and when they were asked for. Raises ProviderError and ElsewhereRefused.
    """
    request = source.provider.keys_request(source.account)
    if request is None:
        return None
    async with _transport(source, request) as transport:
        response = await transport.send(request)
    return source.provider.read_keys(response), response.sent_at


def _transport(source: Source, request: Request) -> Transport:
    """Keys may be on another host than the API, which must not see what the API's requests prove us with."""
    key = source.account.api_key
    if key and any(key in text for text in (request.url, *request.headers.values())):
        raise ElsewhereRefused("refused to ask for a signer's keys with the source's own key; they are public")
    parts = urlsplit(request.url)
    account = replace(source.account, base_url=f"{parts.scheme}://{parts.netloc}", api_key=None)
    return Transport(
        account, clock=source.clock.now, item=source.item, concurrency=1, allow_private=source.allow_private
    )


async def store(connection: AsyncConnection, source: str, keys: JsonObject, asked_at: datetime, now: datetime) -> None:
    """Keep a source's keys. A wish that is younger than the request for them stays."""
    s = source_state.c
    mine = s.source == source
    fetched = {"keys": keys, "keys_fetched_at": asked_at, "keys_tried_at": now}
    await connection.execute(update(source_state).where(mine).values(fetched))
    answered = (mine, s.keys_wanted_at <= asked_at)
    await connection.execute(update(source_state).where(*answered).values(keys_wanted_at=None))


async def failed(connection: AsyncConnection, source: str, now: datetime) -> None:
    """Count the minute until the next try from when this one ended."""
    await connection.execute(update(source_state).where(source_state.c.source == source).values(keys_tried_at=now))


async def renew(database: Database, source: Source) -> None:
    """Fetch a source's keys and keep them; upstream's faults are logged, and the next try is a minute away."""
    try:
        found = await fetch(source)
    except (ProviderError, ElsewhereRefused) as error:
        async with database.write() as connection:
            await failed(connection, source.name, await now(connection))
        log_event("keys-not-fetched", level="warning", source=source.name, message=str(error))
        return
    if found is None:
        return
    async with database.write() as connection:
        await store(connection, source.name, *found, await now(connection))
    log_event("keys-fetched", source=source.name)


class Signers:
    """The sources of this process whose signers publish their keys."""

    def __init__(self, database: Database, sources: Mapping[str, Source]) -> None:
        self._database = database
        self._sources = {name: source for name, source in sources.items() if source.wants_keys}
        self._looked_at = float("-inf")

    async def due(self) -> list[Source]:
        """Return the sources whose keys this process is to fetch now. Looks twice a second at most."""
        if not self._sources or time.monotonic() - self._looked_at < _LOOK_EVERY:
            return []
        self._looked_at = time.monotonic()
        async with self._database.read() as connection:
            names = await wanted(connection, self._sources, await now(connection))
        mine: list[Source] = []
        for name in names:
            async with self._database.write() as connection:
                reading = await now(connection)
                if await reserve(connection, name, reading):
                    self._sources[name].clock.set(reading)
                    mine.append(self._sources[name])
        return mine
