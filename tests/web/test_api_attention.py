"""`/v1/attention`: what needs a person, whatever it is about; and saying that somebody has seen to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from receiver.ledger import attention, audit
from receiver.ledger.attention import Concern
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from tests.web.asking import Api, make_token
from tests.web.conftest import TOKEN, Running


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    """One thing of each scope needs a person, the source's since longest; another's cause is gone."""
    api = Api(receiver, await make_token(database, "write", "somebody"))
    await api.deliver("wf", "processing")
    async with database.write() as connection:
        now = await database_now(connection)
        pk = (await connection.exec_driver_sql("SELECT pk FROM workflows")).scalar_one()
        concerns = [
            Concern("source", "civ", "", "credentials", note=f"401 for ?token={TOKEN}"),
            Concern("workflow", "civ", "wf", "overdue", pk),
            Concern("workflow", "civ", "wf", "gone", pk),
            Concern("delivery", "hinted", "d1", "unreadable", note="not JSON"),
        ]
        for n, one in enumerate(concerns):
            await attention.raise_concerns(connection, [one], now + timedelta(seconds=n))
        await attention.close(connection, "workflow", "civ", "wf", ["gone"], now)
    return api


async def listed(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = await api.get("/v1/attention", **query)
    assert answer.status == 200, answer.body
    return list(answer.json["items"])


async def test_what_is_open_is_listed_newest_first_without_secrets(api: Api) -> None:
    found = await listed(api)
    assert [(one["scope"], one["source"], one["subject"], one["kind"], one["status"]) for one in found] == [
        ("delivery", "hinted", "d1", "unreadable", None),
        ("workflow", "civ", "wf", "overdue", "processing"),
        ("source", "civ", "", "credentials", None),
    ]
    assert found[2]["note"] == "401 for ?token=[secret]"


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ({"scope": "source"}, ["credentials"]),
        ({"kind": "overdue"}, ["overdue"]),
        ({"source": "hinted"}, ["unreadable"]),
        ({"kind": ["overdue", "gone", "credentials"]}, ["overdue", "credentials"]),
        ({"acknowledged": "true"}, []),
        ({"acknowledged": "false", "source": "civ"}, ["overdue", "credentials"]),
    ],
    ids=str,
)
async def test_each_filter_leaves_what_it_says(api: Api, query: dict[str, Any], kinds: list[str]) -> None:
    assert [one["kind"] for one in await listed(api, **query)] == kinds


async def test_pages_follow_one_another_to_the_end(api: Api, database: Database) -> None:
    async with database.write() as connection:
        # All in one instant: the name decides.
        many = [Concern("delivery", "civ", f"d{n}", "unreadable") for n in range(7)]
        await attention.raise_concerns(connection, many, await database_now(connection))
    seen, cursor = [], {}
    while True:
        page = (await api.get("/v1/attention", limit=2, **cursor)).json
        assert len(page["items"]) <= 2
        seen += [one["ref"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(seen) == sorted(one["ref"] for one in await listed(api))
    assert len(seen) == len(set(seen)) == 10


@pytest.mark.parametrize("scope", ["source", "workflow", "delivery"])
async def test_each_scope_is_acknowledged_once_with_a_line_in_the_audit(
    api: Api, database: Database, scope: str
) -> None:
    (before,) = await listed(api, scope=scope)
    answer = await api.post(f"/v1/attention/{before['ref']}/ack")
    assert (answer.status, answer.json["acknowledged_by"]) == (200, "somebody")
    assert (await listed(api, scope=scope)) == [answer.json]
    other = Api(api.running, await make_token(database, "write", "another"))
    again = await other.post(f"/v1/attention/{before['ref']}/ack")
    assert (again.status, again.json) == (200, answer.json)
    async with database.read() as connection:
        lines = (await audit.lines(connection, audit.AuditFilter(what="acknowledge")))["items"]
    assert {(one["who"], one["subject"]) for one in lines} >= {("somebody", before["subject"])}


@pytest.mark.parametrize("ref", ["nothing", "%00", "closed"])
async def test_what_is_not_open_cannot_be_acknowledged(api: Api, database: Database, ref: str) -> None:
    if ref == "closed":
        async with database.read() as connection:
            found = await connection.exec_driver_sql("SELECT id FROM attention WHERE kind = 'gone'")
            ref = found.scalar_one()
    answer = await api.post(f"/v1/attention/{ref}/ack")
    assert (answer.status, answer.json["type"]) == (404, "/problems/no-attention")


async def test_who_may_only_read_acknowledges_nothing(api: Api, database: Database) -> None:
    reader = Api(api.running, await make_token(database, "read", "reader"))
    (one,) = await listed(reader, scope="source")
    assert (await reader.post(f"/v1/attention/{one['ref']}/ack")).status == 403
    assert (await listed(reader, scope="source")) == [one]


WRONG = [{"kind": "hunger"}, {"scope": "all"}, {"acknowledged": "maybe"}, {"cursor": "x"}, {"source": "\0"}]


@pytest.mark.parametrize("query", WRONG, ids=str)
async def test_what_cannot_be_right_is_a_problem(api: Api, query: dict[str, str]) -> None:
    assert (await api.get("/v1/attention", **query)).status == 400
