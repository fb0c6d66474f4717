"""A pass of the reconciler over workflows it must all look at, beside a loop that only fetches the same documents."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp
import orjson
from sqlalchemy import func, select

from receiver.config import Config, load_config
from receiver.ledger import migrate
from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.tables import workflows
from receiver.redaction import Redactor
from receiver.tracking import track_entry
from tests.bench import machine
from tests.bench.processes import API_KEY, BenchFailed, Postgres, free_port, hookledger, started, write_config

CONCURRENCY = 16
WORKFLOWS = "/v2/consumer/workflows"
_HEADERS = {"Authorization": f"Bearer {API_KEY}"}
_BATCH = 200


@dataclass(frozen=True)
class PassRound:
    """One pass: looks per second, the same of the bare loop before it, how busy upstream was in each (share of a core),
    the reconciler's memory at most (MiB), how many looks were answered, and how many workflows none was kept of.

    A pass that lasts looks again at what has become due meanwhile, so that there are more looks than workflows."""

    rate: float
    bare_rate: float
    upstream_share: float
    bare_upstream_share: float
    memory: float
    shown: int
    unseen: int


@dataclass
class Passes:
    """All passes over `workflows` on one database. Half of them have ended upstream, half never will."""

    workflows: int
    rounds: list[PassRound] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every workflow was looked at, and what upstream showed of it is in the ledger."""
        return all(one.shown >= self.workflows and not one.unseen for one in self.rounds)


def measure_passes(
    folder: Path, count: int, rounds: int, stores: Sequence[str], server: Postgres | None
) -> dict[str, Passes]:
    """Start a stand-in upstream with `count` workflows and look at them all, `rounds` times on a fresh ledger each."""
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    config = write_config(folder, "upstream", f"sqlite:///{folder}/unused.db")
    command = hookledger(config, "sandbox", "civitai", "--port", str(port), "--api-key", API_KEY, "--seed", "1")
    found = {store: Passes(count) for store in stores}
    with started(command, folder / "upstream.log", port) as pid:
        answers = asyncio.run(_submit(upstream, count))
        names = [answer["id"] for answer in answers]
        for number in range(rounds):
            for store in stores:
                more = f'base_url = "{upstream}"\nallow_private = true\nbudget = "1000000/min"\n'
                more += f"concurrency = {CONCURRENCY}\n"
                file = write_config(folder, f"pass-{store}-{number}", _fresh(store, folder, number, server), more)
                asyncio.run(_track(load_config(file), answers))
                bare_rate, bare_share = asyncio.run(_bare(upstream, names, pid))
                found[store].rounds.append(_pass(file, pid, bare_rate, bare_share))
    return found


def _fresh(store: str, folder: Path, number: int, server: Postgres | None) -> str:
    if store == "sqlite":
        return f"sqlite:///{folder}/pass-{number}.db"
    assert server is not None
    return server.database(f"pass_{number}")


async def _submit(upstream: str, count: int) -> list[dict[str, str]]:
    """Submit workflows and return upstream's answers once the half that can has ended."""
    async with aiohttp.ClientSession(headers=_HEADERS) as session:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(number: int) -> dict[str, str]:
            script = {"hold": True} if number % 2 else {"seconds": 0, "end": "succeeded", "failing": 0, "racing": 0}
            step = {"$type": "imageGen", "input": {"prompt": "a sword"}, "metadata": {"sandbox": script}}
            async with gate, session.post(upstream + WORKFLOWS, json={"steps": [step]}) as answer:
                if answer.status not in (200, 202):
                    raise BenchFailed(f"the stand-in answered {answer.status} to a submission: {await answer.text()}")
                return dict(await answer.json())

        answers = list(await asyncio.gather(*map(one, range(count))))
        for _ in range(300):
            async with session.get(f"{upstream}/_sandbox/quiet") as answer:
                if (await answer.json())["open"] <= count // 2:
                    return answers
            await asyncio.sleep(0.1)
    raise BenchFailed("the stand-in's workflows did not end within 30 s")


async def _track(config: Config, answers: Sequence[dict[str, str]]) -> None:
    """Tell a fresh ledger about the workflows, as their submitter would."""
    database = await Database.open(config.database.url)
    try:
        await migrate.upgrade(database)
        redactor = Redactor(config.secret_values())
        for place in range(0, len(answers), _BATCH):
            async with database.write() as connection:
                now = await database_now(connection)
                told = [{"source": "civitai", "response": answer} for answer in answers[place : place + _BATCH]]
                await apply(connection, [track_entry(one, config, redactor, now) for one in told], now)
    finally:
        await database.close()


async def _bare(upstream: str, names: Sequence[str], pid: int) -> tuple[float, float]:
    """Fetch every document, so many at once, and decode it: what a reconciler without a ledger would do."""
    todo = iter(names)
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(headers=_HEADERS, connector=connector) as session:

        async def worker() -> None:
            for name in todo:
                async with session.get(f"{upstream}{WORKFLOWS}/{name}") as answer:
                    orjson.loads(await answer.read())

        used, began = machine.cpu_seconds(pid), time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
        wall = time.perf_counter() - began
    return len(names) / wall, (machine.cpu_seconds(pid) - used) / wall


async def _unseen(url: str) -> int:
    """Count the workflows no look was kept of."""
    database = await Database.open(url)
    try:
        async with database.read() as connection:
            found = await connection.scalar(
                select(func.count()).select_from(workflows).where(workflows.c.asked_at.is_(None))
            )
    finally:
        await database.close()
    return int(found or 0)


def _pass(config: Path, upstream: int, bare_rate: float, bare_share: float) -> PassRound:
    """Run `hookledger reconcile --open`; its time is from its row's beginning to its end, without the start-up."""
    used = machine.cpu_seconds(upstream)
    log = config.with_suffix(".log")
    with log.open("wb") as err:
        process = subprocess.Popen(
            hookledger(config, "reconcile", "--open", "--json"), stdout=subprocess.PIPE, stderr=err
        )
    assert process.stdout is not None
    with process.stdout as out:
        told = out.read()
    _, status, spent = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchFailed(f"the pass ended with {process.returncode}: {log.read_text(errors='replace')[-800:]}")
    report = orjson.loads(told)
    wall = (_instant(report["ended_at"]) - _instant(report["started_at"])).total_seconds()
    return PassRound(
        rate=report["counts"].get("looks", 0) / wall,
        bare_rate=bare_rate,
        upstream_share=(machine.cpu_seconds(upstream) - used) / wall,
        bare_upstream_share=bare_share,
        memory=spent.ru_maxrss / 1024,
        shown=report["counts"].get("shown", 0),
        unseen=asyncio.run(_unseen(load_config(config).database.url)),
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
