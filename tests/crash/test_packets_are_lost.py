"""A network loses every packet and tells nobody: connections to PostgreSQL find out within seconds, not minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from receiver.ledger.database import Database
from receiver.ledger.engines import NO_SIGN, connect
from tests.conftest import PostgresServer
from tests.staging.lossy_network import LossyNetwork, lossy_network, may_make_networks
from tests.staging.mortal_postgres import mortal_postgres

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

BUSY = 4.0  # seconds that a keepalive is away, and that a machine with other things to do may take


@pytest.fixture
async def far(postgres: PostgresServer) -> AsyncIterator[LossyNetwork]:
    if not may_make_networks():
        pytest.skip("needs root, network namespaces and iproute2")
    async with mortal_postgres(postgres.programs) as server:
        with lossy_network(server.folder / ".s.PGSQL.5432") as network:
            yield network


async def test_who_asks_and_who_waits_learn_that_nothing_comes_through(far: LossyNetwork) -> None:
    asking, waiting = await connect(far.url, 10, {}), await connect(far.url, 10, {})
    answer = asyncio.create_task(waiting.fetch("SELECT pg_sleep(60)"))
    await asking.fetch("SELECT pg_sleep(1)")  # a server that works on something is not taken for a dead one
    far.lose_everything()
    began = time.monotonic()
    for lost in (asking.fetch("SELECT 1"), answer):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await lost
    assert time.monotonic() - began < NO_SIGN + BUSY


async def test_a_statement_may_take_longer_than_a_silence(far: LossyNetwork) -> None:
    database = await Database.open(far.url)
    try:
        async with database.write() as connection:
            await connection.exec_driver_sql(f"SELECT pg_sleep({NO_SIGN + 3})")
    finally:
        await database.close()
