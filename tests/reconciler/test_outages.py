"""A daemon outlives its database."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from receiver.ledger.database import Database
from receiver.redaction import Redactor
from reconciler.loop import run_daemon
from tests.conftest import PostgresServer
from tests.reconciler.world import Upstream, World, configured, document, until


async def test_a_daemon_waits_for_a_database_that_is_away_and_goes_on(
    postgres: PostgresServer, postgres_url: str, upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hookledger")
    database = await Database.open(postgres_url)
    config = configured(postgres_url, upstream.base_url, tmp_path)
    world = World(database, config, Redactor(config.secret_values()))
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    beats: list[int] = []
    stop = asyncio.Event()
    upstream.answers["/one"] = (200, document("one"))
    await world.track("one")
    daemon = asyncio.create_task(run_daemon(config, database, world.redactor, stop, beat=lambda: beats.append(1)))

    async def settled(workflow_id: str) -> bool:
        return await world.status(workflow_id) == "succeeded"

    try:
        await until(lambda: settled("one"))
        await postgres.run(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        await until(lambda: any(record.getMessage() == "database-away" for record in caplog.records))
        before = len(beats)
        await until(lambda: len(beats) > before + 1)
        assert not daemon.done()
        await postgres.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        upstream.answers["/two"] = (200, document("two"))
        await world.track("two")
        await until(lambda: settled("two"), seconds=20)
        assert [record.getMessage() for record in caplog.records].count("database-back") == 1
    finally:
        stop.set()
        await daemon
        await database.close()
