"""`hookledger replay` on the ledger of real providers."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import update

from receiver.ledger.database import Database
from receiver.ledger.tables import workflows
from tests.commands.conftest import Command
from tests.commands.test_track_and_ask_commands import ANSWER


def changed_by_hand(url: str) -> None:
    async def work() -> None:
        database = await Database.open(url)
        async with database.write() as connection:
            await connection.execute(update(workflows).values(model="\x1b[31mother"))
        await database.close()

    asyncio.run(work())


@pytest.fixture
def tracked(hookledger: Command) -> None:
    assert hookledger("track", "civ", "--response", "-", "--ref", "x", stdin=json.dumps(ANSWER)).code == 0
    assert hookledger("track", "polled", "wf-2").code == 0


@pytest.mark.usefixtures("tracked")
def test_a_ledger_as_its_evidence_says_has_no_difference(hookledger: Command) -> None:
    done = hookledger("replay")
    assert done.out == "2 workflows from 2 pieces of evidence: 0 different, 0 not replayable\n"
    assert hookledger("replay", "--source", "civ", "--json").json == {
        "workflows": 1, "evidence": 1, "different": 0, "corrected": 0, "not_replayable": 0, "why_not": {},
        "applied": False,
    }  # fmt: skip


@pytest.mark.usefixtures("tracked")
def test_a_difference_is_printed_and_exits_1_and_can_be_kept(hookledger: Command, database_url: str) -> None:
    changed_by_hand(database_url)
    done = hookledger("replay")
    assert done.code == 1
    assert "civ/wf-1\n  workflow.model: \ufffd[31mother -> wan/v2.6\n" in done.out
    told = hookledger("replay", "--json", "--workflow", "wf-1").out.splitlines()
    assert json.loads(told[0]) == {
        "source": "civ", "id": "wf-1",
        "differences": [{"what": "workflow.model", "stored": "\x1b[31mother", "derived": "wan/v2.6"}],
    }  # fmt: skip
    assert "2 different, 2 corrected" in hookledger("replay", "--apply").out
    assert hookledger("replay").code == 0
    assert hookledger("show", "civ", "wf-1", "--json").json["model"] == "wan/v2.6"


def test_an_unknown_source_is_one_clear_line(hookledger: Command) -> None:
    done = hookledger("replay", "--source", "nobody")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
