"""Every write by a person leaves a line: on the dashboard, with a token, on the command line; and where to read it."""

from __future__ import annotations

from typing import Any

import pytest

from receiver.config import Config
from receiver.ledger import audit, sessions
from receiver.ledger.attention import Concern, raise_concerns
from receiver.ledger.audit import VERBS
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.query_parts import JsonObject
from tests.web.asking import Api, Upstream, document, make_token
from tests.web.browsing import Browser, logged_in
from tests.web.conftest import Running

BLOB = "QG0CWJ9MB8Y8P7FXNPDV34RY10.jpeg"
# Each write of the dashboard that a person may make, and the line it leaves: what, source, subject.
BUTTONS: list[tuple[str, dict[str, str], tuple[str, str | None, str | None]]] = [
    ("/workflows/civ/w1/refetch", {}, ("refetch", "civ", "w1")),
    ("/workflows/civ/w1/ack", {"kind": "overdue"}, ("acknowledge", "civ", "w1")),
    ("/workflows/links", {"name": "mine", "query": "state=open"}, ("save link", None, "mine")),
    ("/workflows/links/remove", {"name": "kept"}, ("remove link", None, "kept")),
    ("/logout", {}, ("log out", None, None)),
]
CALLS: list[tuple[str, Any, tuple[str, str, str]]] = [
    ("/v1/workflows", {"source": "civ", "id": "w2"}, ("track", "civ", "w2")),
    ("/v1/workflows/civ/w1/refetch", None, ("refetch", "civ", "w1")),
    ("/v1/workflows/civ/w1/refetch?wait=0", None, ("refetch", "civ", "w1")),
    ("/v1/workflows/civ/w1/attention/overdue/ack", None, ("acknowledge", "civ", "w1")),
    (f"/v1/blobs/civ/{BLOB}/share", {"seconds": 60}, ("share", "civ", BLOB)),
]


@pytest.fixture
async def world(receiver: Running, database: Database, config: Config) -> Api:
    """A workflow with a file and with attention, and a saved link."""
    api = Api(receiver, await make_token(database, "write", "app"))
    await api.deliver("w1", "processing")
    shown = document("w1", "processing", url="https://blobs.civitai.com/a.jpeg")
    await Upstream(database, config).settle("w1", shown)
    async with database.write() as connection:
        pk = (await connection.exec_driver_sql("SELECT pk FROM workflows")).scalar_one()
        now = await database_now(connection)
        await raise_concerns(connection, [Concern("workflow", "civ", "w1", "overdue", workflow=pk)], now)
    browser = await logged_in(receiver, database, "write", "somebody")
    assert (await browser.press("/workflows/links", name="kept", query="state=open")).status == 303
    return api


async def newest(database: Database) -> JsonObject:
    async with database.read() as connection:
        return (await audit.newest(connection))[0]


@pytest.mark.parametrize(("path", "fields", "line"), BUTTONS, ids=[one[0] for one in BUTTONS])
async def test_each_button_leaves_a_line_with_who_what_and_on_what(
    world: Api, database: Database, path: str, fields: dict[str, str], line: tuple[str, str | None, str | None]
) -> None:
    browser = await logged_in(world.running, database, "write", "anna")
    assert (await browser.press(path, **fields)).status == 303
    found = await newest(database)
    assert (found["who"], found["what"], found["source"], found["subject"]) == ("anna", *line)
    assert found["what"] in VERBS


@pytest.mark.parametrize(("path", "body", "line"), CALLS, ids=[one[0] for one in CALLS])
async def test_each_write_with_a_token_leaves_a_line(
    world: Api, database: Database, path: str, body: Any, line: tuple[str, str, str]
) -> None:
    answer = await world.ask("POST", path, body)
    assert answer.status < 300, answer.body
    found = await newest(database)
    assert (found["who"], found["what"], found["source"], found["subject"]) == ("app", *line)


async def test_logging_in_leaves_a_line_and_trying_in_vain_does_not(receiver: Running, database: Database) -> None:
    token = await make_token(database, "read", "anna")
    browser = Browser(receiver)
    assert (await browser.send("/login", {"token": token + "x"})).status == 401
    async with database.read() as connection:
        assert await audit.newest(connection) == []
    async with database.write() as connection:
        code = await sessions.make_code(connection, "anna", await database_now(connection))
    for fields, by in (({"token": token}, "token"), ({"code": code}, "link")):
        assert (await Browser(receiver).send("/login", fields)).status == 303
        found = await newest(database)
        assert (found["who"], found["what"], found["details"]["by"]) == ("anna", "log in", by)
        assert token not in str(found)


async def test_the_page_tells_who_did_what_on_what_and_when(world: Api, database: Database) -> None:
    browser = await logged_in(world.running, database, "write", "anna")
    await browser.press("/workflows/civ/w1/refetch")
    page = await browser.see("/audit")
    for told in ("anna", "had upstream asked", 'href="/workflows/civ/w1"', "saved a link", "kept"):
        assert told in page
    assert "By people" in await browser.see("/workflows/civ/w1")
    page = await browser.see("/audit?who=somebody")
    assert "had upstream asked" not in page
    assert "saved a link" in page
    assert "Nobody has done anything like this" in await browser.see("/audit?subject=nothing")
    assert (await browser.get("/audit?cursor=x")).status == 400


async def test_lines_are_listed_narrowed_down_and_paged(world: Api, database: Database) -> None:
    for _ in range(3):
        await world.post("/v1/workflows/civ/w1/refetch")
    first = (await world.get("/v1/audit", limit=2, subject="w1", source="civ")).json
    assert [one["what"] for one in first["items"]] == ["refetch", "refetch"]
    rest = (await world.get("/v1/audit", limit=2, subject="w1", source="civ", cursor=first["next_cursor"])).json
    assert ([one["what"] for one in rest["items"]], rest["next_cursor"]) == (["refetch"], None)
    assert (await world.get("/v1/audit", who="nobody")).json["items"] == []
    assert (await world.get("/v1/audit", who="")).json["type"] == "/problems/bad-filter"
    assert (await world.get("/v1/audit", cursor="x")).json["type"] == "/problems/bad-cursor"


async def test_a_write_that_fails_leaves_no_line(world: Api, database: Database) -> None:
    before = await newest(database)
    reader = await logged_in(world.running, database, "read", "reader")
    assert (await newest(database))["what"] == "log in"
    for path, fields, _ in BUTTONS[:-1]:
        assert (await reader.press(path, **fields)).status == 403
    api = Api(world.running, await make_token(database, "read", "looker"))
    for path, body, _ in CALLS[:-1]:
        assert (await api.ask("POST", path, body)).status == 403
    assert (await newest(database))["who"] == "reader"
    assert before["who"] == "somebody"


async def test_a_workflow_that_cannot_have_its_line_is_not_tracked(world: Api, database: Database) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE audit_log RENAME TO away")
    answer = await world.ask("POST", "/v1/workflows", {"source": "civ", "id": "w3"})
    async with database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO audit_log")
    assert answer.status in (422, 503)
    assert (await world.get("/v1/workflows/civ/w3")).status == 404


async def test_what_is_tracked_twice_leaves_one_line_and_a_delivery_none(world: Api, database: Database) -> None:
    for _ in range(2):
        await world.post("/v1/workflows", {"source": "civ", "id": "w3"})
    await world.deliver("w3", "processing")
    async with database.read() as connection:
        lines = (await audit.lines(connection, audit.AuditFilter(subject="w3")))["items"]
    assert [(one["who"], one["what"]) for one in lines] == [("app", "track")]
