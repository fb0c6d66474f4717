"""Replay on the dashboard: of a delivery that could not be read, and of a workflow from its evidence."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import update

from receiver.ledger import audit
from receiver.ledger.database import Database
from receiver.ledger.operations import audit_log, tokens
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.records import Reading
from receiver.ledger.tables import evidence as evidence_table
from receiver.ledger.tables import workflows
from receiver.providers import PROVIDERS
from receiver.providers.base import Inbound, Unreadable
from receiver.providers.civitai import Civitai
from tests.web.asking import Api, make_token
from tests.web.browsing import logged_in
from tests.web.client import ask, event
from tests.web.conftest import Receiving, Running
from tests.web.rows import rows


async def lines(database: Database) -> list[JsonObject]:
    async with database.read() as connection:
        found = await audit.newest(connection)
    return [one for one in found if one["what"] != "log in"]


class Blind(Civitai):
    """The same upstream, read by code that cannot read it yet."""

    def read(self, inbound: Inbound, account: object) -> Reading:
        raise Unreadable("not understood yet")


@pytest.fixture
async def receiver(receiving: Receiving) -> AsyncIterator[Running]:
    """A receiver that cannot read what comes in for `civ`; what it holds is replayed with the code of today."""
    async with receiving(providers={**PROVIDERS, "civitai": Blind()}) as running:
        yield running


async def quarantined(running: Running, database: Database, body: bytes) -> str:
    """A delivery that nobody could read when it came."""
    assert (await ask("POST", running.hook(), body)).json["outcome"] == "quarantined"
    (row,) = await rows(database, evidence_table)
    return str(row.id)


async def known(running: Running, database: Database) -> None:
    """The workflow wf-1, processing."""
    name = await quarantined(running, database, event("wf-1", "processing"))
    await Api(running, await make_token(database, "write", "app")).post(f"/v1/deliveries/{name}/replay")
    async with database.write() as connection:
        await connection.execute(audit_log.delete())


async def test_a_quarantined_delivery_is_replayed_from_the_list_and_its_workflow_says_so(
    receiver: Running, database: Database
) -> None:
    name = await quarantined(receiver, database, event("wf-1", "processing"))
    browser = await logged_in(receiver, database, "write", "anna")
    page = await browser.see("/deliveries")
    assert re.search(rf'<form[^>]+action="/evidence/{name}/replay"', page)
    answer = await browser.press(f"/evidence/{name}/replay")
    assert (answer.status, answer.headers["location"]) == (303, "/workflows/civ/wf-1")
    page = await browser.see("/workflows/civ/wf-1")
    assert "was read with today&#39;s code and applied" in page
    (line,) = await lines(database)
    assert (line["who"], line["what"], line["source"], line["subject"]) == ("anna", "replay", "civ", name)
    assert line["details"] == {"workflow": "wf-1", "outcome": "applied"}
    assert "anna" in await browser.see(f"/evidence/{name}")


async def test_what_still_cannot_be_read_is_said_where_it_was_asked_and_nothing_changes(
    receiver: Running, database: Database
) -> None:
    name = await quarantined(receiver, database, b"<still not understood>")
    browser = await logged_in(receiver, database, "write")
    answer = await browser.press(f"/evidence/{name}/replay")
    assert answer.status == 409
    assert "Not applied: nothing was changed" in answer.body.decode()
    assert "cannot be read today either" in answer.body.decode()
    assert await lines(database) == []
    assert len(await rows(database, evidence_table)) == 1
    assert (await browser.press("/evidence/nobody/replay")).status == 404


async def test_a_workflow_whose_ledger_says_what_its_evidence_says_shows_no_difference(
    receiver: Running, database: Database
) -> None:
    await known(receiver, database)
    browser = await logged_in(receiver, database, "read")
    page = await browser.see("/workflows/civ/wf-1/replay")
    assert "Nothing differs" in page
    assert "Correct the ledger" not in page
    assert (await browser.get("/workflows/civ/nobody/replay")).status == 404


@pytest.mark.parametrize("scope", ["read", "write", "admin"])
async def test_a_ledger_that_says_otherwise_is_shown_and_corrected_by_admins_alone(
    receiver: Running, database: Database, scope: str
) -> None:
    await known(receiver, database)
    async with database.write() as connection:
        await connection.execute(update(workflows).values(status="scheduled"))
    browser = await logged_in(receiver, database, scope, "anna")
    page = await browser.see("/workflows/civ/wf-1/replay")
    assert "workflow.status" in page
    assert "scheduled" in page
    assert ("Correct the ledger" in page) is (scope == "admin")
    answer = await browser.press("/workflows/civ/wf-1/replay")
    (row,) = await rows(database, workflows)
    if scope != "admin":
        assert (answer.status, row.status) == (403, "scheduled")
        assert await lines(database) == []
        return
    assert (answer.status, answer.headers["location"], row.status) == (303, "/workflows/civ/wf-1", "processing")
    assert "the evidence says today" in await browser.see("/workflows/civ/wf-1")
    (line,) = await lines(database)
    assert (line["who"], line["what"], line["subject"]) == ("anna", "correct", "wf-1")
    assert "Nothing differs" in await browser.see("/workflows/civ/wf-1/replay")


async def test_a_form_without_the_pledge_replays_nothing(receiver: Running, database: Database) -> None:
    name = await quarantined(receiver, database, event("wf-1", "processing"))
    browser = await logged_in(receiver, database, "admin")
    for path in (f"/evidence/{name}/replay", "/workflows/civ/wf-1/replay"):
        assert (await browser.send(path, {"pledge": "0" * 64})).status == 403
        answer = await browser.send(path, {"pledge": await browser.pledge()}, sec_fetch_site="cross-site")
        assert answer.status == 403
    assert await lines(database) == []


async def test_a_token_that_was_revoked_presses_no_more_buttons(receiver: Running, database: Database) -> None:
    name = await quarantined(receiver, database, event("wf-1", "processing"))
    browser = await logged_in(receiver, database, "write")
    pledge = await browser.pledge()
    async with database.write() as connection:
        await connection.execute(tokens.update().values(revoked_at=tokens.c.created_at))
    answer: Any = await browser.send(f"/evidence/{name}/replay", {"pledge": pledge})
    assert (answer.status, answer.headers["location"]) == (303, "/login")
