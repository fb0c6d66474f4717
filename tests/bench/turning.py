"""`python -m tests.bench.turning`: how long the receiver's event loop is held up by the largest things asked of it.

A canary asks what needs nothing but the loop (whether a hook's URL is there), all the time, over a connection of its
own. The longest it waits while something large is under way is the longest turn of the loop, and what the machine adds.
Of many requests that arrive at once a turn takes a callback each, so that the bound on a callback says nothing of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from rich.console import Console
from rich.table import Table

from tests.bench.processes import (
    TARGET,
    BenchFailed,
    Postgres,
    free_port,
    hookledger,
    postgres,
    started,
    write_config,
)
from tests.bench.tables import spread

LIMIT = 50.0  # ms: issue 4's bound on a callback's CPU
WORKFLOWS, STEPS, JOBS = 100, 6, 50
ONE_BODY = 8 * 2**20  # bytes

Ask = Callable[[], Awaitable[int]]


@dataclass
class Canary:
    """Milliseconds of its answers since it was last asked about."""

    took: list[float] = field(default_factory=list)

    async def sing(self, url: str) -> None:
        """Ask again and again, until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.perf_counter()
                async with session.head(url) as answer:
                    await answer.read()
                self.took.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.001)


def large_document(name: str, status: str) -> dict[str, Any]:
    """One workflow's event with all its steps and jobs."""
    steps = [
        {
            "name": f"${s}", "$type": "imageGen", "status": status,
            "jobs": [{"id": f"{name}-{s}-{j}", "status": status} for j in range(JOBS)],
        }
        for s in range(STEPS)
    ]  # fmt: skip
    whole = {"id": name, "status": status, "createdAt": "2026-01-21T22:21:26Z", "steps": steps}
    return {"$type": "workflow", "workflowId": name, "status": status, "details": whole}


def large_request() -> bytes:
    """What a submitter tells of a workflow, of ONE_BODY bytes."""
    each = {"$type": "imageGen", "input": {"prompt": "a lighthouse in the fog, " * 10, "seed": 1}}
    told = {"source": "civitai", "id": "one", "request": {"steps": [each] * (ONE_BODY // len(orjson.dumps(each)))}}
    return orjson.dumps(told)


class Client:
    """What is asked, each returning the answer's status."""

    def __init__(self, session: aiohttp.ClientSession, address: str, token: str) -> None:
        self.session, self.address = session, address
        self.bearer = {"authorization": f"Bearer {token}"}

    def get(self, path: str) -> Ask:
        """A question."""
        return lambda: self._ask("GET", path, b"")

    def post(self, path: str, body: bytes) -> Ask:
        """Something that is told."""
        return lambda: self._ask("POST", path, body)

    def together(self, path: str, bodies: list[bytes]) -> Ask:
        """Many at once."""

        async def all_of_them() -> int:
            return max(await asyncio.gather(*(self._ask("POST", path, body) for body in bodies)))

        return all_of_them

    async def _ask(self, method: str, path: str, body: bytes) -> int:
        while True:
            async with self.session.request(method, self.address + path, data=body, headers=self.bearer) as answer:
                await answer.read()
                if answer.status != 503:
                    return answer.status
            await asyncio.sleep(0.5)  # too much at once: as an upstream would


def asked(client: Client) -> Iterator[tuple[str, Ask]]:
    """What is measured, in this order: the later ones find what the earlier ones have told."""
    yield "nothing", lambda: asyncio.sleep(1, 200)
    yield f"{WORKFLOWS} deliveries of {STEPS * JOBS} jobs at once", client.together(
        TARGET, [orjson.dumps(large_document(f"large-{n}", "processing")) for n in range(WORKFLOWS)]
    )
    yield "the same workflows end", client.together(
        TARGET, [orjson.dumps(large_document(f"large-{n}", "succeeded")) for n in range(WORKFLOWS)]
    )
    yield f"GET /v1/workflows, {WORKFLOWS} of them", client.get(f"/v1/workflows?limit={WORKFLOWS}")
    yield f"POST /v1/workflows, {ONE_BODY // 2**20} MiB", client.post("/v1/workflows", large_request())
    yield "GET that one", client.get("/v1/workflows/civitai/one")


@contextlib.asynccontextmanager
async def serving(folder: Path, store: str, server: Postgres) -> AsyncIterator[tuple[str, str]]:
    """A real `serve` on an empty ledger; gives its address and a token."""
    url = f"sqlite:///{folder}/ledger.db"
    if store == "postgresql":
        url = await asyncio.to_thread(server.database, f"turning_{time.time_ns()}")
    config, port = write_config(folder, store, url), free_port()
    await asyncio.to_thread(subprocess.run, hookledger(config, "db", "upgrade"), check=True, stdout=subprocess.DEVNULL)
    command = hookledger(config, "token", "create", "bench", "--scope", "write", "--json")
    made = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    serve = hookledger(config, "serve", "--no-reconciler", "--port", str(port))
    with started(serve, folder / f"{store}.log", port):
        yield f"http://127.0.0.1:{port}", orjson.loads(made.stdout)["token"]


async def measure_turns(store: str, server: Postgres, rounds: int) -> dict[str, list[float]]:
    """Return the canary's longest wait (ms) of each round, by what was asked meanwhile."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="hookledger-bench-") as name:
            async with serving(Path(name), store, server) as (address, token), aiohttp.ClientSession() as session:
                canary = Canary()
                singing = asyncio.create_task(canary.sing(address + TARGET))
                for what, ask in asked(Client(session, address, token)):
                    await asyncio.sleep(0.3)
                    canary.took.clear()
                    status = await ask()
                    if not 200 <= status < 300:
                        raise BenchFailed(f"{what}: answered {status}")
                    found.setdefault(what, []).append(max(canary.took, default=0.0))
                singing.cancel()
                await asyncio.gather(singing, return_exceptions=True)
    return found


def main() -> int:
    """Measure, print; 1 when the median of what is a single request is above LIMIT."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.turning", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    table = Table(title=f"The event loop's longest turn (bound: {LIMIT:.0f} ms)")
    for title in ("what is asked", "SQLite, ms", "PostgreSQL, ms"):
        table.add_column(title, justify="left" if title.startswith("what") else "right")
    with postgres() as server:
        try:
            found = {store: asyncio.run(measure_turns(store, server, rounds)) for store in ("sqlite", "postgresql")}
        except BenchFailed as error:
            sys.stderr.write(f"turning: {error}\n")
            return 2
    for what in found["sqlite"]:
        table.add_row(what, *(spread(found[store][what]) for store in ("sqlite", "postgresql")))
    Console(width=120).print(table)
    single = [took for each in found.values() for what, took in each.items() if what.startswith(("GET", "POST"))]
    return int(any(statistics.median(took) > LIMIT for took in single))


if __name__ == "__main__":
    sys.exit(main())
