"""What every command does first: open the ledger, and change nothing of it that needs no change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from receiver.ledger import migrate
from receiver.ledger.database import Database
from tests.commands.conftest import Command


def at(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def version(url: str, pragma: str) -> int:
    connection = sqlite.connect(str(at(url)))
    try:
        found: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        return found
    finally:
        connection.close()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def test_whoever_asks_a_ledger_that_is_up_to_date_writes_nothing(hookledger: Command, database_url: str) -> None:
    assert hookledger("track", "civ", "x").code == 0
    before, size = version(database_url, "schema_version"), at(database_url).read_bytes()
    for words in (["list"], ["show", "civ", "x"], ["deliveries"], ["attention"], ["verify"], ["token", "list"]):
        assert hookledger(*words).code == 0, words
    assert (version(database_url, "schema_version"), at(database_url).read_bytes()) == (before, size)


def test_an_option_that_goes_before_the_command_is_said_to_go_there(hookledger: Command) -> None:
    done = hookledger("list", "--config", "x.toml")
    assert (done.code, done.out) == (2, "")
    assert "--config goes before the command" in done.err
    assert "No such option" in hookledger("list", "--confg", "x.toml").err


async def old(url: str) -> None:
    database = await Database.open(url)
    try:
        await migrate.upgrade(database, "0005")
    finally:
        await database.close()


def test_whoever_comes_first_brings_an_older_ledger_up_to_date(hookledger: Command, database_url: str) -> None:
    for path in at(database_url).parent.glob(f"{at(database_url).name}*"):
        path.unlink()
    asyncio.run(old(database_url))
    assert hookledger("db", "check").code == 2
    assert hookledger("list").code == 0
    assert hookledger("db", "check").out == "the schema equals the code's\n"


def test_a_database_that_fails_in_the_middle_is_one_clear_line(hookledger: Command, database_url: str) -> None:
    for n in range(20):
        assert hookledger("track", "civ", f"x{n}").code == 0
    page = version(database_url, "page_size")
    connection = sqlite.connect(str(at(database_url)))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'workflows'").fetchone()
    connection.close()
    content = bytearray(at(database_url).read_bytes())
    content[(root - 1) * page : root * page] = b"\xff" * page
    at(database_url).write_bytes(content)
    done = hookledger("list")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("hookledger: the database failed: ")
