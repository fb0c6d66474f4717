"""Deliveries over HTTP: found, read without harm, and applied once more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from receiver.ledger import audit
from receiver.ledger.database import Database
from tests.web.asking import Api, make_token
from tests.web.client import ask, event
from tests.web.conftest import TOKEN, Running


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "admin"))


async def listed(api: Api, **query: Any) -> list[Any]:
    answer = await api.get("/v1/deliveries", **query)
    assert answer.status == 200, answer.body
    return list(answer.json["items"])


async def test_deliveries_can_be_listed_narrowed_down_and_paged(api: Api) -> None:
    for name in ("wf-1", "wf-2", "wf-3"):
        await api.deliver(name, "processing")
    await ask("POST", api.running.hook(), b"<not understood>")
    assert [one["workflow"] for one in await listed(api)] == [None, "wf-3", "wf-2", "wf-1"]
    assert [one["problem"] is None for one in await listed(api, outcome="quarantined")] == [False]
    assert [one["workflow"] for one in await listed(api, workflow="wf-2")] == ["wf-2"]
    assert [one["workflow"] for one in await listed(api, source="civ", outcome=["applied"])] == ["wf-3", "wf-2", "wf-1"]
    assert await listed(api, source="hinted") == []
    first = (await api.get("/v1/deliveries", limit=3)).json
    rest = (await api.get("/v1/deliveries", limit=3, cursor=first["next_cursor"])).json
    assert ([one["workflow"] for one in rest["items"]], rest["next_cursor"]) == (["wf-1"], None)
    assert (await api.get("/v1/deliveries", outcome="lost")).json["type"] == "/problems/bad-filter"
    assert (await api.get("/v1/deliveries", cursor="x")).json["type"] == "/problems/bad-cursor"


async def test_a_body_is_given_as_a_file_without_secrets_and_to_admins_alone(
    api: Api, receiver: Running, database: Database
) -> None:
    sent = json.dumps({"html": "<script>alert(1)</script>", "callback": api.running.hook()}).encode()
    await ask("POST", api.running.hook(), sent)
    (one,) = await listed(api)
    answer = await api.get(f"/v1/deliveries/{one['id']}/body")
    assert answer.status == 200
    assert TOKEN.encode() not in answer.body
    assert b"<script>" in answer.body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    reader = Api(receiver, await make_token(database, "write"))
    assert (await reader.get(f"/v1/deliveries/{one['id']}/body")).status == 403
    assert (await reader.get(f"/v1/deliveries/{one['id']}")).json["id"] == one["id"]


async def test_a_delivery_is_applied_again_and_who_did_it_is_written_down(api: Api, database: Database) -> None:
    await ask("POST", api.running.hook(), event("wf-1", "processing"))
    (one,) = await listed(api)
    answer = await api.post(f"/v1/deliveries/{one['id']}/replay")
    assert answer.status == 200
    assert (answer.json["workflow"], answer.json["delivery"]) == ("wf-1", one["id"])
    async with database.read() as connection:
        (line,) = await audit.newest(connection)
    assert (line["who"], line["what"], line["subject"]) == ("tests-admin", "replay", one["id"])


async def test_what_cannot_be_applied_again_says_why(api: Api) -> None:
    await ask("POST", api.running.hook(), b"<not understood>")
    (one,) = await listed(api)
    answer = await api.post(f"/v1/deliveries/{one['id']}/replay")
    assert (answer.status, answer.json["type"]) == (409, "/problems/cannot-replay")
    for path in ("/v1/deliveries/nobody", "/v1/deliveries/nobody/body", "/v1/deliveries/%00"):
        assert (await api.get(path)).json["type"] == "/problems/unknown-delivery"
    assert (await api.post("/v1/deliveries/nobody/replay")).status == 404
