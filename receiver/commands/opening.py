"""What every command does first and last: read the configuration, open the ledger, turn errors into one clear line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import orjson
import uvloop

from receiver.config import Config, ConfigError, load_config
from receiver.config.urls import sqlite_file
from receiver.ledger import migrate
from receiver.ledger.database import Database, LedgerError
from receiver.ledger.engines import DATABASE_ERRORS, reason
from receiver.redaction import Redactor

# What a command's exit code says (DESIGN §7).
DONE, SOME_FAILED, USAGE = 0, 1, 2
# Who did it, where the audit log names a token else.
COMMAND_LINE = "command line"


def fail(message: str, code: int = USAGE) -> NoReturn:
    """Leave with a line on stderr that says what is wrong."""
    click.echo(f"hookledger: {message}", err=True)
    sys.exit(code)


def unknown(config: Config, source: str, workflow_id: str) -> NoReturn:
    """Leave with a line that says that there is no such workflow, and which sources there are when that is why."""
    known = "" if source in config.sources else f"; configured sources: {', '.join(sorted(config.sources)) or 'none'}"
    fail(f"no workflow {workflow_id!r} is known of source {source!r}{known}", SOME_FAILED)


def configured(ctx: click.Context) -> Config:
    """Return the configuration a command was called with; leaves with its errors, a line each."""
    path: Path | None = ctx.find_root().obj
    try:
        return load_config(path)
    except ConfigError as error:
        for line in str(error).splitlines():
            click.echo(f"hookledger: {line}", err=True)
        sys.exit(USAGE)


@asynccontextmanager
async def ledger(
    config: Config, *, upgrade_sqlite: bool = True, anew: bool = False, asking: bool = False
) -> AsyncIterator[Database]:
    """Open the ledger, checked to be of this version. SQLite is brought up to date by whoever comes first, and whoever
    serves makes its guards `anew` too: others write nothing here, or a full disk could not be looked into.

    Whoever is only `asking`, in the wrong folder, is told so: no empty ledger is left there.
    """
    file = sqlite_file(config.database.url)
    if file is not None and (asking or not upgrade_sqlite) and not file.exists():
        more = f"; {config.advice()}" if config.advice() else ""
        fail(f"there is no ledger at {file.absolute()} yet: `hookledger serve` makes it{more}")
    database = await Database.open(config.database.url)
    try:
        if database.dialect == "sqlite" and upgrade_sqlite:
            await (migrate.upgrade if anew else migrate.upgrade_if_outdated)(database)
        else:
            await migrate.ensure_current(database)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def lasting_ledger(config: Config) -> AsyncIterator[Callable[[], Awaitable[Database]]]:
    """Open the ledger for somebody who asks again and again; what is yielded gives it each time. Of SQLite it is the
    file that is there now: what was opened stays readable after its file was moved away, or a backup put in its place,
    and would be shown as true for ever. LedgerError while there is none, or none of this version."""
    async with AsyncExitStack() as opening:
        which = _which(config)
        database = await opening.enter_async_context(ledger(config, asking=True))
        opened = opening.pop_all()

    async def now() -> Database:
        nonlocal which, database, opened
        found = _which(config)
        if found is None and sqlite_file(config.database.url) is not None:
            raise LedgerError("the ledger's file is not there")
        if found != which:
            async with AsyncExitStack() as opening:
                another = await opening.enter_async_context(ledger(config, upgrade_sqlite=False, asking=True))
                await opened.aclose()
                which, database, opened = found, another, opening.pop_all()
        return database

    try:
        yield now
    finally:
        await opened.aclose()


def _which(config: Config) -> tuple[int, int] | None:
    """Return which file SQLite's is; None where there is none."""
    file = sqlite_file(config.database.url)
    try:
        found = file.stat() if file is not None else None
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def run(work: Coroutine[Any, Any, int | None]) -> NoReturn:
    """Run a command's work and leave with its exit code; what the ledger or the configuration says becomes one line."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(work)
    except (LedgerError, ConfigError) as error:
        fail(str(error))
    except DATABASE_ERRORS as error:
        fail(f"the database failed: {reason(error)}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code or DONE)


def print_json(value: Any, redactor: Redactor) -> None:
    """Write one JSON value to stdout, without the values of known secrets."""
    encoded = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.write(redactor.bytes(encoded).decode())
