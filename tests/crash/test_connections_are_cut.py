"""PostgreSQL cuts connections in mid-COMMIT: a delivery is answered 200 only when it is known to be kept."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from receiver.ledger.database import Database
from receiver.sandbox.civitai import running_civitai
from tests.staging.programs import KEY, Stage
from tests.staging.soundness import lost_or_doubled, unsound
from tests.staging.traffic import Traffic
from tests.staging.upstream import held_targets

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

CUTS = 15

# Work at the end of each transaction, so that a commit takes a while and can be met under way, whether it is told by a
# COMMIT or comes at the end of a statement that is a whole transaction.
SLOW_COMMITS = """
CREATE FUNCTION take_a_while() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.003); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER take_a_while AFTER INSERT ON evidence
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION take_a_while();
"""
CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'hookledger' AND state = 'active'
    AND (query = 'COMMIT' OR wait_event = 'PgSleep')
"""


async def test_a_connection_cut_while_committing_is_no_200_and_the_delivery_comes_again(
    postgres_url: str, tmp_path: Path
) -> None:
    async with running_civitai(speed=10, api_key=KEY) as civitai, aiohttp.ClientSession() as session:
        stage = Stage.made(tmp_path, postgres_url, civitai.base_url, source=('deadline = "30d"',))
        targets = await held_targets(session, civitai, 20)
        admin = await asyncpg.connect(postgres_url)
        try:
            await admin.execute(SLOW_COMMITS)
            async with stage.running("serve", "serve", "--no-reconciler") as program:
                await stage.until_ready(program)
                traffic = Traffic(stage.port, stage.hook_path, targets, seed=9)
                try:
                    cut = await cut_connections(admin, traffic)
                    await traffic.stop()
                finally:
                    await traffic.abandon()
                assert await program.stop() == 0, program.words()
        finally:
            await admin.close()
        print(f"\n{cut} connections cut; {len(traffic.sent)} deliveries {dict(traffic.counts)}")
        assert traffic.counts["answered 503"] >= CUTS
        assert traffic.counts["torn"] == 0, "a lost database is no reason to drop the client"
        database = await Database.open(postgres_url)
        try:
            assert await lost_or_doubled(database, traffic.sent) == []
            assert await unsound(database) == []
        finally:
            await database.close()


async def cut_connections(admin: asyncpg.Connection, traffic: Traffic) -> int:
    """Cut connections that are committing until it has happened often enough; returns how many."""
    cut = 0
    ends = time.monotonic() + 40
    while cut < CUTS:
        assert time.monotonic() < ends, f"only {cut} commits were met under way"
        met = await admin.fetchval(CUT)
        cut += met
        if met:
            await traffic.until_acknowledged(10)
        else:
            await asyncio.sleep(0.002)
    return cut
