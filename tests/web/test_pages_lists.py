"""What the lists show, how many statements they cost, and what their buttons do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import event

from receiver.ledger import attention
from receiver.ledger.attention import Concern
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.operations import saved_links
from receiver.ledger.tables import attention as attention_table
from tests.web.asking import Api, make_token
from tests.web.browsing import Browser, logged_in
from tests.web.conftest import Running
from tests.web.rows import rows


async def raised(database: Database, *concerns: Concern) -> None:
    async with database.write() as connection:
        await attention.raise_concerns(connection, concerns, await database_now(connection))


async def test_the_first_page_is_attention_when_somebody_is_needed(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    assert (await browser.get("/")).headers["location"] == "/workflows"
    await raised(database, Concern("source", "civ", "", "credentials", note="401"))
    assert (await browser.get("/")).headers["location"] == "/attention"
    page = await browser.see("/attention")
    assert "Upstream refuses our key" in page
    assert "What to do:" in page


async def test_a_person_can_say_to_have_seen_to_each_kind_of_thing(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database, "write", "anna")
    await Api(receiver, await make_token(database, "write")).deliver("w1", "processing")
    async with database.read() as connection:
        pk = (await connection.exec_driver_sql("SELECT pk FROM workflows")).scalar_one()
    await raised(
        database,
        Concern("source", "civ", "", "credentials"),
        Concern("delivery", "civ", "abc", "unreadable", evidence="abc"),
        Concern("workflow", "civ", "w1", "overdue", workflow=pk),
    )
    for ref in re.findall(r'name="ref" value="([0-9a-f]+)"', await browser.see("/attention")):
        assert (await browser.press("/attention/ack", ref=ref)).headers["location"] == "/attention"
    found = await rows(database, attention_table)
    assert {row.acknowledged_by for row in found} == {"anna"}
    assert all(row.closed_at is None for row in found)
    page = await browser.see("/attention")
    assert page.count("anna has seen to it") == 3
    assert "I have seen to it" not in page


async def test_asking_upstream_makes_a_check_due_and_says_so_once(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database, "write")
    api = Api(receiver, await make_token(database, "write", "app"))
    await api.deliver("w1", "processing")
    answer = await browser.press("/workflows/civ/w1/refetch")
    assert (answer.status, answer.headers["location"]) == (303, "/workflows/civ/w1")
    assert (await api.workflow("w1"))["check"]["wanted_at"] is not None
    assert "Upstream is being asked" in await browser.see("/workflows/civ/w1")
    assert "Upstream is being asked" not in await browser.see("/workflows/civ/w1")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"one-1", "one-2", "two-1"}),
        ("q=one", {"one-1", "one-2"}),
        ("q=team%3Dred", {"one-1", "two-1"}),
        ("q=one+team%3Dred", {"one-1"}),
        ("status=processing", {"one-1"}),
        ("status=processing&status=succeeded", {"one-1", "one-2"}),
        ("state=ended", {"one-2"}),
        ("state=open&source=civ&since=1h&q=", {"one-1", "two-1"}),
        ("source=hinted", set()),
        ("attention=any", set()),
    ],
)
async def test_filters_in_the_address_choose_what_is_listed(
    receiver: Running, database: Database, query: str, found: set[str]
) -> None:
    browser = await logged_in(receiver, database)
    api = Api(receiver, await make_token(database, "write", "app"))
    for name, team in (("one-1", "red"), ("one-2", "blue"), ("two-1", "red")):
        await api.post("/v1/workflows", {"source": "civ", "id": name, "context": {"team": team}})
    await api.deliver("one-1", "processing")
    await api.deliver("one-2", "succeeded")
    page = await browser.see(f"/workflows?{query}")
    assert set(re.findall(r'class="id"><bdi>([^<]+)<', page)) == found


@pytest.mark.parametrize("query", ["status=no", "state=no", "since=no", "q=a+b", "attention=no", "cursor=no", "q=%3D"])
async def test_a_filter_that_cannot_be_right_is_told_and_not_ignored(
    receiver: Running, database: Database, query: str
) -> None:
    browser = await logged_in(receiver, database)
    answer = await browser.get(f"/workflows?{query}")
    assert answer.status in (200, 400)
    assert (answer.status == 400) == ('role="alert"' in answer.body.decode())
    assert query == "q=%3D" or answer.status == 400


async def test_pages_follow_one_another_without_a_gap(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database)
    api = Api(receiver, await make_token(database, "write", "app"))
    for n in range(60):
        await api.post("/v1/workflows", {"source": "civ", "id": f"w-{n}"})
    first = await browser.see("/workflows?source=civ")
    (older,) = re.findall(r'href="(/workflows\?[^"]+)" rel="next"', first)
    second = await browser.see(older.replace("&amp;", "&"))
    names = [re.findall(r'class="id"><bdi>([^<]+)<', page) for page in (first, second)]
    assert [len(one) for one in names] == [50, 10]
    assert len({*names[0], *names[1]}) == 60


async def test_links_are_saved_for_everybody_and_lead_nowhere_else(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database, "write", "anna")
    answer = await browser.press("/workflows/links", name="Failed <b>", query="status=failed&evil=//x&q=a")
    assert answer.headers["location"] == "/workflows?q=a&status=failed"
    other = await logged_in(receiver, database, "read", "bert")
    page = await other.see("/workflows")
    assert 'href="/workflows?q=a&amp;status=failed"' in page
    assert "Failed &lt;b&gt;" in page
    for name in ("", "x" * 61, "a\nb"):
        assert (await browser.press("/workflows/links", name=name, query="q=a")).status == 400
    await browser.press("/workflows/links/remove", name="Failed <b>")
    assert await rows(database, saved_links) == []


async def test_no_page_asks_the_database_once_per_row(receiver: Running, database: Database) -> None:
    browser = await logged_in(receiver, database, "admin")
    api = Api(receiver, await make_token(database, "write", "app"))
    paths = ("/attention", "/workflows", "/workflows/civ/w-0", "/sources", "/sources/civ", "/deliveries", "/passes")
    counted = []
    for more in (2, 30):
        for n in range(more):
            await api.deliver(f"w-{n}", "processing")
            await raised(database, Concern("workflow", "civ", f"w-{n}", "overdue"))
        counted.append([await _statements(receiver, browser, path) for path in paths])
    assert all(many <= few for few, many in zip(*counted, strict=True)), counted
    assert max(counted[1]) <= 20


async def _statements(receiver: Running, browser: Browser, path: str) -> int:
    seen: list[str] = []

    def count(*arguments: Any) -> None:
        seen.append(arguments[2])

    engines = _engines(receiver.site.database)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", count)
    try:
        await browser.see(path)
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", count)
    assert seen
    return len(seen)


def _engines(database: Database) -> list[Any]:
    found = list(vars(database).values())
    return list({id(one.sync_engine): one.sync_engine for one in found if hasattr(one, "sync_engine")}.values())
