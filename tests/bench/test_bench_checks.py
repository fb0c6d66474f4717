"""The bench's check of what was acknowledged must see what it is there to see."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import text

from receiver.ledger.database import Database
from tests.bench.checking import check
from tests.ledger.applying import delivery, put, saw

BODY, OTHER = b'{"a": 1}', b'{"a": 2}'


@pytest.fixture
async def acknowledged(database: Database, tmp_path: Path) -> Path:
    """A ledger with one delivery, which came twice and was answered 200 twice."""
    await put(database, delivery(0, saw("processing"), body=BODY))
    await put(database, delivery(1, saw("processing"), body=BODY))
    file = tmp_path / "acknowledged"
    file.write_bytes(sha256(BODY).digest() * 2)
    return file


async def test_deliveries_that_are_there_once_pass(database_url: str, acknowledged: Path) -> None:
    found = await check(database_url, [acknowledged])
    assert found.sound, found
    assert (found.acknowledged, found.bodies, found.counted) == (2, 1, 2)


async def test_an_acknowledged_delivery_that_is_not_there_is_found(
    database_url: str, acknowledged: Path, tmp_path: Path
) -> None:
    lost = tmp_path / "lost"
    lost.write_bytes(sha256(OTHER).digest())
    found = await check(database_url, [acknowledged, lost])
    assert (found.sound, found.missing) == (False, 1)


async def test_a_delivery_that_is_there_twice_is_found(
    database: Database, database_url: str, acknowledged: Path
) -> None:
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM delivery_keys"))
    await put(database, delivery(2, saw("processing"), body=BODY))
    found = await check(database_url, [acknowledged])
    assert (found.sound, found.doubled) == (False, 1)


async def test_a_repetition_that_was_not_counted_is_found(
    database: Database, database_url: str, acknowledged: Path
) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE delivery_keys SET count = 1"))
    assert not (await check(database_url, [acknowledged])).sound
