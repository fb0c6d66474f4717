"""What is measured against each other: programs, each a real process on a port with a database of its own.

`CONTENDERS` lists them all. Whatever needs a package or a program that is not there is left out with a line that says
so; everything else goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import mix, pgbench
from tests.bench.processes import Postgres, free_port, hookledger, started, write_config


@dataclass(frozen=True)
class Kind:
    """One sort of contender: how it is called, where it stores, how it is started, and what it is sent.

    `keeps` is the sort of tables that acknowledged deliveries are looked for in: our ledger's, those of a peer or of
    pgbench, or none. `copies` and `old` are what its traffic is like: copies per new delivery, and of how many
    workflows that were loaded before it tells (0: of new ones). `needs` are packages that must be importable.
    """

    name: str
    title: str
    store: str  # "", "sqlite" or "postgresql"
    command: Callable[[Path, int], list[str]] | None  # None: not a server, but a program that is its own load
    keeps: str = "ledger"
    copies: float = mix.DUPLICATES
    old: int = 0
    processes: int = 1
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contender:
    """One running program. `database` is where it stores, "" for a ceiling; `server` is its PostgreSQL."""

    kind: Kind
    pid: int
    port: int
    log: Path
    database: str = ""
    server: Postgres | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.kind.name


def _serve(workers: int = 1) -> Callable[[Path, int], list[str]]:
    more = ("--workers", str(workers)) if workers > 1 else ()
    return lambda config, port: hookledger(config, "serve", "--no-reconciler", "--port", str(port), *more)


def _module(module: str, *more: str) -> Callable[[Path, int], list[str]]:
    start = (sys.executable, "-m", module, *more)
    return lambda config, port: [*start, "--config", str(config), "--port", str(port)]


def _server(name: str) -> Callable[[Path, int], list[str]]:
    return _module("tests.bench.servers", name)


def _peer(name: str, workers: int = 1) -> Callable[[Path, int], list[str]]:
    return _module(f"tests.bench.peers.{name}", "--workers", str(workers))


CONTENDERS = {
    kind.name: kind
    for kind in (
        Kind("bare", "bare ASGI app: reads, answers 204", "", _server("bare"), keeps=""),
        Kind("no-store", "our server, store taken out", "", _server("no-store"), keeps=""),
        Kind("sqlite", "hookledger serve, SQLite", "sqlite", _serve()),
        Kind("postgresql", "hookledger serve, PostgreSQL", "postgresql", _serve()),
        Kind("postgresql-2", "hookledger serve, PostgreSQL, 2 workers", "postgresql", _serve(workers=2), processes=2),
        Kind("all-new", "PostgreSQL, no copies in the traffic", "postgresql", _serve(), copies=0),
        Kind("replays", "PostgreSQL, half of it copies", "postgresql", _serve(), copies=1),
        Kind("sqlite-single", "SQLite, one delivery per commit", "sqlite", _server("single")),
        Kind("postgresql-single", "PostgreSQL, one delivery per commit", "postgresql", _server("single")),
        Kind("orm", "Starlette + SQLAlchemy ORM", "postgresql", _peer("orm"), keeps="peer"),
        Kind("orm-2", "the same, 2 processes", "postgresql", _peer("orm", workers=2), keeps="peer", processes=2),
        Kind(
            "django-2",
            "Django, gunicorn, 2 processes",
            "postgresql",
            _peer("django_peer", workers=2),
            keeps="peer",
            processes=2,
            needs=("django", "gunicorn", "psycopg"),
        ),
        Kind("pgbench", "pgbench, one transaction per delivery", "postgresql", None, keeps="pgbench"),
    )
}


def missing(kind: Kind, server: Postgres | None) -> str:
    """Return why a contender cannot be had here, "" when it can."""
    for package in kind.needs:
        if importlib.util.find_spec(package) is None:
            return f'{package} is not installed: pip install -e ".[test,bench]"'
    if kind.store == "postgresql" and server is None:
        return "it needs PostgreSQL"
    return pgbench.missing(server) if kind.command is None and server is not None else ""


@contextlib.contextmanager
def contender(
    kind: Kind, folder: Path, server: Postgres | None, suffix: str = "", kept: tuple[str, Path] | None = None
) -> Iterator[Contender]:
    """Start one contender on an empty database and wait until it answers; end it afterwards.

    `suffix` tells its database on PostgreSQL from those of the same contender started before. `kept` is the URL and the
    configuration of a ledger that is there already (`keeping.large`).
    """
    log, port = folder / f"{kind.name}.log", free_port()
    if kept is not None and kind.command is not None:
        with started(kind.command(kept[1], port), log, port) as pid:
            yield Contender(kind, pid, port, log, kept[0], server if kind.store == "postgresql" else None)
        return
    database = _database(kind, folder, server, suffix)
    if kind.command is None:
        pgbench.prepare(database)
        yield Contender(kind, 0, 0, log, database, server)
        return
    config = write_config(folder, kind.name, database or f"sqlite:///{folder / kind.name}.db")
    if kind.keeps == "ledger":
        subprocess.run(hookledger(config, "db", "upgrade"), check=True, stdout=subprocess.DEVNULL)
    with started(kind.command(config, port), log, port) as pid:
        yield Contender(kind, pid, port, log, database, server if kind.store == "postgresql" else None)


def _database(kind: Kind, folder: Path, server: Postgres | None, suffix: str) -> str:
    if kind.store == "sqlite":
        return f"sqlite:///{folder / kind.name}.db"
    if kind.store == "postgresql":
        assert server is not None
        return server.database("bench_" + kind.name.replace("-", "_") + suffix)
    return ""
