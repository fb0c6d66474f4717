"""Servers to compare ours with: two that store nothing, and one without batches.

`python -m tests.bench.servers bare|no-store|single --config FILE --port N`
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from receiver.config import load_config
from receiver.intake import Intake
from receiver.ledger import migrate
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry, Result
from receiver.ledger.evidence import new_id
from receiver.ledger.merge import merge, new_state
from receiver.ledger.nodes import Evidence
from receiver.ledger.records import Outcome
from receiver.logs import setup_logging
from receiver.memory import settle_memory
from receiver.redaction import Redactor
from receiver.web.app import build_app
from receiver.web.server import BACKLOG, Server, bind


class Storeless(Intake):
    """An intake without a ledger: every delivery is merged into a workflow nobody has heard of, and forgotten."""

    def start(self) -> None:
        """There is nothing to start."""

    async def submit(self, entry: Entry, ends: float | None = None) -> Result:
        """Return what the ledger would say of the first delivery ever."""
        name, now = new_id(), datetime.now(UTC)
        if entry.reading is None or entry.workflow_id is None:
            return Result(name, Outcome.QUARANTINED)
        state = new_state(entry.source, entry.workflow_id, now, "delivery")
        evidence = Evidence(name, entry.kind, entry.at, now, "delivery", entry.trust, entry.http_date)
        merged = merge(state, entry.reading, evidence)
        return Result(name, Outcome.APPLIED if merged.moved else Outcome.RECORDED, merged, state, created=True)


async def answer_204(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the body and answers 204."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _serve(app: Any, port: int) -> None:
    server = Server(cast(Starlette, app), signals=(signal.SIGTERM, signal.SIGINT))
    server.on_start = settle_memory
    with bind("127.0.0.1", port) as sock:
        await server.serve(sockets=[sock])


async def _no_store(file: Path, port: int) -> None:
    """Our server, whose intake keeps nothing: what the store costs is what it is faster by."""
    await _ours(file, port, Storeless)


async def _single(file: Path, port: int) -> None:
    """Our server, each delivery in a transaction of its own: what group commit is worth is what it is slower by."""
    await _ours(file, port, partial(Intake, max_batch=1))


async def _ours(file: Path, port: int, intake: Callable[[Database], Intake]) -> None:
    config = load_config(file)
    redactor = Redactor(config.secret_values())
    setup_logging(redactor)
    database = await Database.open(config.database.url)
    try:
        await migrate.upgrade(database)
        await _serve(build_app(config, database, redactor, intake(database)), port)
    finally:
        await database.close()


async def _bare(_: Path, port: int) -> None:
    """uvicorn as it comes, told what ours tells it, with none of our protocol's deadlines and caps."""
    config = uvicorn.Config(
        answer_204, loop="none", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, backlog=BACKLOG,
    )  # fmt: skip
    settle_memory()
    with bind("127.0.0.1", port) as sock:
        await uvicorn.Server(config).serve(sockets=[sock])


SERVERS = {"bare": _bare, "no-store": _no_store, "single": _single}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=sorted(SERVERS))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(SERVERS[given.server](given.config, given.port))
