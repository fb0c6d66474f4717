"""`hookledger attention`: what needs a person, whatever it is about."""

from __future__ import annotations

import asyncio
from pathlib import Path

from receiver.ledger.attention import Concern, raise_concerns
from receiver.ledger.database import Database, now
from tests.commands.conftest import HOOK_TOKEN, Command


def raised(url: str, *concerns: Concern) -> None:
    async def work() -> None:
        database = await Database.open(url)
        try:
            async with database.write() as connection:
                await raise_concerns(connection, concerns, await now(connection))
        finally:
            await database.close()

    asyncio.run(work())


def test_what_is_open_is_listed_for_sources_workflows_and_deliveries_alike(
    hookledger: Command, database_url: str
) -> None:
    assert hookledger("attention").out == "nothing needs a person\n"
    raised(
        database_url,
        Concern("source", "civ", "", "credentials", note=f"401 for ?token={HOOK_TOKEN}"),
        Concern("workflow", "civ", "wf", "overdue"),
        Concern("delivery", "polled", "d1", "unreadable", note="not JSON"),
    )
    told = hookledger("attention").out
    for said in ("credentials", "overdue", "unreadable", "not JSON", "wf", "d1", "[secret]"):
        assert said in told
    assert HOOK_TOKEN not in told
    found = hookledger("attention", "--json").json
    assert found["counts"]["overdue"] == {"open": 1, "acknowledged": 0}
    assert sorted((one["kind"], one["scope"], one["source"], one["subject"]) for one in found["items"]) == [
        ("credentials", "source", "civ", ""), ("overdue", "workflow", "civ", "wf"),
        ("unreadable", "delivery", "polled", "d1"),
    ]  # fmt: skip


def test_what_is_acknowledged_stays_open_and_says_by_whom(hookledger: Command, database_url: str) -> None:
    hookledger("track", "civ", "wf")
    raised(
        database_url,
        Concern("source", "civ", "", "credentials"),
        Concern("delivery", "polled", "d1", "unreadable"),
        Concern("workflow", "civ", "wf", "overdue"),
        Concern("workflow", "civ", "wf", "gone"),
    )
    refs = {one["kind"]: one["ref"] for one in hookledger("attention", "--json").json["items"]}
    given = [word for kind in ("credentials", "unreadable", "overdue") for word in ("--ack", refs[kind])]
    done = hookledger("attention", *given)
    assert (done.code, done.out.count("noted: ")) == (0, 3)
    found = hookledger("attention", "--json").json
    assert {one["kind"]: one["acknowledged_by"] for one in found["items"]} == {
        "credentials": "command line", "unreadable": "command line", "overdue": "command line", "gone": None,
    }  # fmt: skip
    assert {kind: group["acknowledged"] for kind, group in found["counts"].items()} == {
        "credentials": 1, "unreadable": 1, "overdue": 1, "gone": 0,
    }  # fmt: skip


def test_what_is_not_open_cannot_be_acknowledged(hookledger: Command) -> None:
    done = hookledger("attention", "--ack", "nothing")
    assert done.code == 1
    assert "'nothing'" in done.err


def test_whoever_asks_in_a_folder_without_a_ledger_is_told_so_and_leaves_none_there(
    hookledger: Command, configuration: Path, tmp_path: Path, database_url: str
) -> None:
    configuration.write_text(configuration.read_text().replace(database_url, f"sqlite:///{tmp_path}/none.db"))
    for words in (
        ["attention"], ["list"], ["list", "--json"], ["show", "civ", "x"], ["deliveries"], ["incident", "civ", "x"],
        ["token", "list"], ["forget", "civ", "x"], ["verify"], ["db", "check"],
    ):  # fmt: skip
        done = hookledger(*words)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), words
        assert "`hookledger serve` makes it" in done.err
    assert not (tmp_path / "none.db").exists()
    assert hookledger("track", "civ", "x").code == 0
    assert (tmp_path / "none.db").stat().st_mode & 0o777 == 0o600
