"""Filters of the list of workflows that somebody gave a name, for everybody who looks at the dashboard."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import saved_links
from receiver.ledger.query_parts import JsonObject

MOST = 50
_LONGEST_NAME, _LONGEST_QUERY = 60, 2000


class BadLink(ValueError):
    """A link cannot be saved; the message says why."""


async def listing(connection: AsyncConnection) -> list[JsonObject]:
    """Return `{"name", "query", "by"}` of every saved link, by name."""
    query = select(saved_links).order_by(saved_links.c.name)
    rows = (await connection.execute(query)).mappings()
    return [{"name": row["name"], "query": row["query"], "by": row["created_by"]} for row in rows]


async def save(connection: AsyncConnection, name: str, query: str, who: str, now: datetime) -> None:
    """Save a link, over one of the same name. Raises BadLink."""
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise BadLink(f"a link's name must be 1 to {_LONGEST_NAME} printable characters")
    if len(query) > _LONGEST_QUERY:
        raise BadLink("these are too many filters for one link")
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"query": query, "created_by": who, "created_at": now}
    statement = insert(saved_links).values(name=name, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    count = (await connection.execute(select(func.count()).select_from(saved_links))).scalar_one()
    if count > MOST:
        raise BadLink(f"there are {MOST} saved links already: remove one first")


async def remove(connection: AsyncConnection, name: str) -> bool:
    """Remove a link; returns False when there is none of this name."""
    return bool((await connection.execute(delete(saved_links).where(saved_links.c.name == name))).rowcount)
