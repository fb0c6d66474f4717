"""Every step up from every version, with something in every table: nothing is lost, and the ledger goes on with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import MetaData, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import migrate, store
from receiver.ledger.columns import instant_to_text
from receiver.ledger.database import Database
from receiver.ledger.states import Status
from tests.ledger.applying import delivery, loaded, put, saw

WHEN = datetime(2026, 1, 21, 22, 30, tzinfo=UTC)
WORDS = {
    "status": "processing", "level": "workflow", "lane": "standing", "to_status": "processing", "kind": "delivery",
    "outcome": "applied", "trust": "token", "scope": "workflow", "id": "old", "workflow_id": "old", "source": "civ",
    "span": "total", "state": "due",
}  # fmt: skip
APART = {("transitions", "kind"): "applied", ("attention", "kind"): "overdue", ("tokens", "scope"): "read"}


async def tables_of(connection: AsyncConnection) -> list[Table]:
    """The tables of the ledger as they are just now, those that others refer to first."""
    found = MetaData()
    await connection.run_sync(found.reflect)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def value_for(table: Table, name: str, kind: type, dialect: str) -> Any:
    """Something that a column may hold: one of its words, an instant, a document, or the number 1."""
    if name.endswith(("_at", "_until")) or name in ("at", "since", "until"):
        return WHEN if dialect == "postgresql" else instant_to_text(WHEN)
    if (table.name, name) in APART:
        return APART[table.name, name]
    if kind is bytes:
        return b"\x01" * 16
    if kind is str:
        return WORDS.get(name, '{"type": "echo"}')
    return {} if kind is dict else kind(1)


async def fill(connection: AsyncConnection) -> list[str]:
    """Put a row into every table; returns their names."""
    filled = []
    for table in await tables_of(connection):
        if table.name == "permits":
            continue
        wanted = [column for column in table.columns if not column.nullable and column.server_default is None]
        row = {c.name: value_for(table, c.name, c.type.python_type, connection.dialect.name) for c in wanted}
        row |= {column.name: 1 for column in table.columns if column.name == "workflow" and column.foreign_keys}
        await connection.execute(insert(table).values(row))
        filled.append(table.name)
    return filled


async def test_from_every_version_the_rows_of_every_table_come_along(stepped: Database) -> None:
    database = stepped
    async with database.maintenance() as connection:
        filled = await fill(connection)
    await migrate.upgrade(database)
    assert await migrate.check(database) == []
    async with database.read() as connection:
        for table in await tables_of(connection):
            if table.name in filled:
                assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() >= 1, table.name
        states = await store.load(connection, [("civ", "old")])
    assert states["civ", "old"].node.status is Status.PROCESSING
    await put(database, delivery(0, saw("succeeded"), wf="old"))
    assert (await loaded(database, "old")).node.status is Status.SUCCEEDED
