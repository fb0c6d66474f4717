"""`hookledger serve`: the receiver, with the reconciler inside."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import uvloop

from receiver.commands.opening import DONE, SOME_FAILED, configured, fail, ledger
from receiver.config import Config, ConfigError
from receiver.intake import Intake
from receiver.ledger.database import Database, LedgerError
from receiver.ledger.engines import DATABASE_ERRORS, reason
from receiver.logs import log_event, setup_logging
from receiver.memory import settle_memory
from receiver.owners import Boxes, OwningIntake, boxes
from receiver.redaction import Redactor
from receiver.web.app import Daemon, build_app
from receiver.web.server import Server, StartFailed, address_of, bind
from receiver.web.workers import Workers


@click.command()
@click.option("--host", help="The address to listen on (default: server.host).")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on (default: server.port).")
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="How many processes; PostgreSQL only.")
@click.option("--no-reconciler", is_flag=True, help="Leave reconciling to a process of its own.")
@click.pass_context
def serve(ctx: click.Context, host: str | None, port: int | None, workers: int, no_reconciler: bool) -> None:
    """Take deliveries, answer questions and reconcile, until told to stop."""
    config = configured(ctx)
    if workers > 1 and config.database.url.startswith("sqlite"):
        fail(
            "--workers needs PostgreSQL: only one process may take deliveries on an SQLite file;"
            " leave --workers out, or set database.url to postgresql://…"
        )
    redactor = Redactor(config.secret_values())
    setup_logging(redactor, config.server.log_level)
    try:
        with bind(host or config.server.host, config.server.port if port is None else port) as sock:
            program = _Program(config, redactor, sock, None if no_reconciler else _builtin_reconciler())
            code = program.alone() if workers == 1 else program.together(workers)
    except (LedgerError, ConfigError, StartFailed) as error:
        fail(str(error))
    except DATABASE_ERRORS as error:
        fail(f"the database failed: {reason(error)}")
    sys.exit(code)


def _builtin_reconciler() -> Daemon:
    # The outermost layer lends it: nothing else of the receiver knows that there is a reconciler (DESIGN §4).
    from reconciler.loop import run_daemon

    return run_daemon


@dataclass(frozen=True)
class _Program:
    """What one process, or several, are to do."""

    config: Config
    redactor: Redactor
    sock: socket.socket
    daemon: Daemon | None

    def alone(self) -> int:
        """Serve in this process; return the exit code."""
        return self._run((signal.SIGTERM, signal.SIGINT), self.daemon, Intake, announce=True)

    def together(self, workers: int) -> int:
        """Serve in several processes; return the exit code. The reconciler is in the first one only."""
        # Looked at once here, so that a database of the wrong schema is one clear line and not one per worker.
        asyncio.run(self._look())
        self._announce(workers)
        return Workers(workers, partial(self._as_worker, boxes(workers))).run(self.sock.close)

    async def _look(self) -> None:
        async with ledger(self.config, anew=True):
            pass

    def _as_worker(self, boxes: Boxes, number: int, lifeline: int) -> int:
        intake = partial(OwningIntake, number=number, boxes=boxes) if boxes else Intake
        return self._run((signal.SIGTERM,), self.daemon if number == 0 else None, intake, lifeline=lifeline)

    def _run(
        self,
        signals: tuple[signal.Signals, ...],
        daemon: Daemon | None,
        intake: Callable[[Database], Intake],
        *,
        lifeline: int | None = None,
        announce: bool = False,
    ) -> int:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._serve(signals, daemon, intake, lifeline, announce))

    async def _serve(
        self,
        signals: tuple[signal.Signals, ...],
        daemon: Daemon | None,
        intake: Callable[[Database], Intake],
        lifeline: int | None,
        announce: bool,
    ) -> int:
        async with ledger(self.config, anew=True) as database:
            app = build_app(self.config, database, self.redactor, intake(database), daemon=daemon)
            server = Server(app, signals=signals)
            server.on_start = settle_memory
            if lifeline is not None:
                # Nothing is ever written to it: it becomes readable when the parent has gone.
                asyncio.get_running_loop().add_reader(lifeline, server.stop)
            if announce:
                self._announce(1)
            await server.serve(sockets=[self.sock])
            if lifeline is not None:
                asyncio.get_running_loop().remove_reader(lifeline)
        return DONE if server.started else SOME_FAILED

    def _announce(self, workers: int) -> None:
        advice: dict[str, Any] = {"advice": self.config.advice()} if self.config.advice() else {}
        log_event(
            "serving",
            address=address_of(self.sock),
            database=self.config.database_url_public(),
            sources=sorted(self.config.sources),
            reconciler=self.daemon is not None,
            workers=workers,
            **advice,
        )
