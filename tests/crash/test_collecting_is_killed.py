"""SIGKILL of the reconciler in mid-copy, again and again: what is copied in the end is what upstream has, and no more.

`HOOKLEDGER_TEST_KILLS` sets how often (2).
"""

from __future__ import annotations

import asyncio
import os
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.ledger.collected import collected
from receiver.ledger.database import Database
from receiver.sandbox.civitai import RunningCivitai, running_civitai
from receiver.sandbox.filing import padded
from receiver.sandbox.media import content
from receiver.shelves import FolderShelf, Shelf, shelf_of
from tests.staging.bucket import Bucket
from tests.staging.programs import KEY, Stage
from tests.staging.registering import register
from tests.staging.soundness import rows, unsound
from tests.staging.upstream import image, submit
from tests.staging.waiting import until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

COUNT, SIZE, RATE = 5, 1_000_000, 700_000
KILLS = int(os.environ.get("HOOKLEDGER_TEST_KILLS", "2"))
SERVER = ('lease = "2s"', 'item = "1s"')


@pytest.mark.parametrize("kind", ["folder", "bucket"])
async def test_bytes_copied_are_upstreams_whenever_the_reconciler_is_killed(
    database_url: str, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "bucket" and database_url.startswith("postgresql"):
        return  # where the ledger is makes no difference to a bucket; the time is better spent elsewhere
    lines = ['deadline = "30d"', "collect = true", "[collect]", f'folder = "{tmp_path / "copies"}"']
    if kind == "bucket":
        bucket: Bucket = request.getfixturevalue("bucket")
        lines += bucket.lines
    rng = random.Random(7)
    async with running_civitai(speed=200, api_key=KEY, file_size=SIZE, file_rate=RATE) as civitai:
        stage = Stage.made(tmp_path, database_url, civitai.base_url, server=SERVER, source=lines)
        database = await Database.open(database_url)
        try:
            async with aiohttp.ClientSession() as session:
                submitted = [await submit(session, civitai, image()) for _ in range(COUNT)]
            await register(stage, database, submitted)
            await civitai.wait_quiet()
            for number in range(KILLS):
                async with stage.running(f"killed-{number}", "reconcile", "--watch") as program:
                    await until(lambda: under_way(database), 30)
                    await asyncio.sleep(rng.uniform(0.2, 1.5))
                    await program.kill()
            async with stage.running("last", "reconcile", "--watch") as program:
                await until(lambda: all_kept(database), 60)
                assert await program.stop() == 0, program.words()
            await assert_the_same(database, civitai, shelf_at(stage))
            assert await unsound(database) == []
        finally:
            await database.close()


def shelf_at(stage: Stage) -> Shelf:
    from receiver.config import load_config

    found = shelf_of(load_config(stage.config, {}).collect)
    assert found is not None
    return found


async def copies(database: Database) -> list[Any]:
    return await rows(database, collected)


async def under_way(database: Database) -> bool:
    found = await copies(database)
    return any(row.leased_by is not None for row in found) or (bool(found) and await all_kept(database))


async def all_kept(database: Database) -> bool:
    found = await copies(database)
    return len(found) == COUNT and all(row.state == "kept" for row in found)


async def assert_the_same(database: Database, civitai: RunningCivitai, shelf: Shelf) -> None:
    found = await copies(database)
    assert {row.blob for row in found} == {blob["id"] for one in civitai.truth()["workflows"] for blob in one["blobs"]}
    for row in found:
        data = padded(content(row.blob), row.blob, SIZE)
        kept = b"".join([piece async for piece in shelf.read(row.place, 0, row.size)])
        assert (row.size, row.sha256) == (len(data), sha256(data).hexdigest())
        assert kept == data
    asked = [line for line in civitai.log()["requests"] if "/blobs/" in line["path"]]
    print(f"\n{len(asked)} requests for {COUNT} files, {KILLS} kills")
    if isinstance(shelf, FolderShelf):
        lying = [file for file in shelf.unfinished.parent.rglob("*") if file.is_file()]
        assert {file.name for file in lying} == {Path(row.place).name for row in found}
