"""A burst of deliveries over 256 connections: none is lost, none is stored twice, and only a 503 asks for patience."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from receiver.ledger.database import Database
from receiver.ledger.tables import delivery_keys, evidence
from tests.chaos.burst import Job
from tests.chaos.sizes import number
from tests.staging.programs import Stage
from tests.staging.soundness import unsound

COUNT = int(number("BURST", 10_000))  # the whole test is 100 000
CONNECTIONS = 256
WORKERS = f"{number('WORKERS', 2):.0f}"
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300 + COUNT // 100)]


async def test_a_burst_is_stored_once_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    await burst(postgres_url, tmp_path, "--workers", WORKERS)


async def test_a_burst_is_stored_once_on_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    await burst(sqlite_url, tmp_path)


async def burst(database_url: str, folder: Path, *arguments: str) -> None:
    """Send it, and check it id by id."""
    stage = Stage.made(folder, database_url, "http://127.0.0.1:9", source=('deadline = "30d"',))
    names = folder / "names"
    async with stage.running("serve", "serve", "--no-reconciler", *arguments) as program:
        await stage.until_ready(program)
        report = await sent(Job(stage.port, stage.hook_path, COUNT, CONNECTIONS, str(names)))
        assert await program.stop() == 0, program.words()
    print(f"\n{database_url.partition(':')[0]} {' '.join(arguments)}: {COUNT} deliveries, {report}")
    assert set(report["statuses"]) <= {"200", "503"}
    assert report["without_retry_after"] == report["torn"] == 0
    await check(database_url, names)


async def sent(job: Job) -> dict[str, Any]:
    """Run the sender in a process of its own; return its report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.burst", json.dumps(asdict(job)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return dict(json.loads(out))


async def check(database_url: str, names: Path) -> None:
    """Every body is there once, under the one name it was answered with, and counted as often as it was answered."""
    database = await Database.open(database_url)
    try:
        async with database.read() as connection:
            # A repeat that moved something leaves a decision beside the delivery.
            query = select(evidence.c.id, evidence.c.body_sha256, evidence.c.problem)
            rows = (await connection.execute(query.where(evidence.c.kind == "delivery"))).all()
            counted = {row.evidence: row.count for row in await connection.execute(select(delivery_keys))}
        stored = Counter(row.body_sha256 for row in rows)
        held = {row.body_sha256: row.id for row in rows}
        lines = (await asyncio.to_thread(names.read_text)).splitlines()
        told = dict(line.split(" ", 1) for line in lines)
        assert len(told) == COUNT
        assert [digest for digest in told if stored[digest] != 1] == [], "lost or doubled"
        assert len(rows) == COUNT
        wrong = [(held[digest], given) for digest, given in told.items() if set(given.split()) != {held[digest]}]
        assert wrong == [], "answered with another name"
        assert all(counted[held[digest]] >= len(given.split()) for digest, given in told.items())
        assert [row.id for row in rows if row.problem] == []
        assert await unsound(database) == []
    finally:
        await database.close()
