"""Reading workflows over HTTP: what one looks like, lists, filters, pages, timelines."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from receiver.config import Config
from receiver.ledger.database import Database
from receiver.ledger.tables import checks, workflows
from tests.web.asking import IMAGE, JOB, Api, Upstream, document, make_token, path_of
from tests.web.client import ask
from tests.web.conftest import Running

CONTRACT = {
    "source", "id", "run", "status", "upstream_status", "terminal", "first_seen_at", "first_seen_via", "submitted_at",
    "started_at", "completed_at", "finished_at", "finished_via", "confirmed_at", "reason", "error", "advice",
    "attention", "next_check_at", "progress", "model", "output_format", "request", "source_media", "usage", "ref",
    "locator", "context", "steps", "jobs", "blobs",
}  # fmt: skip
URL = "https://orchestration.civitai.com/v2/consumer/blobs/x.jpeg?sig=abc"


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "write"))


@pytest.fixture
def upstream(database: Database, config: Config) -> Upstream:
    return Upstream(database, config)


async def test_a_delivered_workflow_can_be_read_with_every_key_there(api: Api) -> None:
    await api.deliver("wf-1", "processing", timestamp="2026-04-12T22:58:14.1234567Z")
    told = await api.workflow("wf-1")
    assert told.keys() >= CONTRACT
    assert (told["source"], told["id"], told["status"], told["terminal"]) == ("civ", "wf-1", "processing", False)
    assert told["first_seen_via"] == "delivery"
    assert [told[name] for name in ("advice", "error", "context", "confirmed_at", "model")] == [None] * 5
    assert [told[name] for name in ("attention", "steps", "jobs", "blobs")] == [[]] * 4
    assert told["first_seen_at"].endswith("Z")
    assert told["next_check_at"] == told["check"]["due_at"] == min(told["check"]["reasons"].values())


async def test_a_looked_at_workflow_shows_its_steps_jobs_and_blobs(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "succeeded")
    assert (await api.workflow("wf-1"))["confirmed_at"] is None
    await upstream.settle("wf-1", document("wf-1", url=URL))
    told = await api.workflow("wf-1")
    assert told["confirmed_at"] is not None
    assert told["submitted_at"] == "2026-01-21T22:21:26.332000Z"
    assert told["model"] == "flux"
    (step,) = told["steps"]
    assert (step["name"], step["type"], step["status"], step["metadata"]) == ("$0", "imageGen", "succeeded", {"n": 1})
    assert step["input"]["prompt"] == "a fox"
    assert step["output"]["images"][0]["url"] == URL
    assert step["inferred"] is False
    (job,) = told["jobs"]
    assert (job["id"], job["step"], job["cost"]) == (JOB, "$0", 4.0)
    (blob,) = told["blobs"]
    assert (blob["id"], blob["url"], blob["href"]) == (IMAGE, URL, f"/blobs/civ/{IMAGE}")
    assert (blob["width"], blob["height"], blob["slot"], blob["job"]) == (1024, 768, "images.0", JOB)
    alone = (await api.get(f"/v1/blobs/civ/{IMAGE}")).json
    assert alone == {"source": "civ", "workflow": "wf-1", "collected": None, **blob}


async def test_an_address_that_no_look_has_confirmed_is_shown_nowhere(api: Api, upstream: Upstream) -> None:
    forged = "https://orchestration.civitai.com/forged.jpeg"
    shown = document("wf-1", url=forged)
    step = {"$type": "step", "workflowId": "wf-1", "name": "$0", "status": "succeeded", "details": shown["steps"][0]}
    assert (await ask("POST", api.running.hook(), json.dumps(step).encode())).status == 200
    told = await api.workflow("wf-1")
    assert forged not in json.dumps(told)
    assert (told["blobs"][0]["url"], told["blobs"][0]["url_confirmed"]) == (None, False)
    await upstream.settle("wf-1", document("wf-1", url=URL))
    assert (await api.workflow("wf-1"))["blobs"][0]["url"] == URL
    assert (await ask("POST", api.running.hook(), json.dumps({**step, "again": 1}).encode())).status == 200
    assert forged not in json.dumps(await api.workflow("wf-1"))


async def test_an_expired_address_is_not_shown(api: Api, upstream: Upstream) -> None:
    await upstream_knows(api, upstream, document("wf-1", url=URL, lives=-1))
    (blob,) = (await api.workflow("wf-1"))["blobs"]
    assert blob["url"] is None
    assert blob["url_expires_at"] is not None
    assert URL not in json.dumps(await api.workflow("wf-1"))


async def upstream_knows(api: Api, upstream: Upstream, shown: dict[str, Any]) -> None:
    await api.deliver(shown["id"], "processing")
    await upstream.settle(shown["id"], shown)


async def test_an_ending_that_upstream_does_not_know_is_shown_as_vanished(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "failed")
    await upstream.settle("wf-1", None)
    told = await api.workflow("wf-1")
    assert (told["status"], told["reason"], told["confirmed_at"]) == ("failed", "vanished", None)


@pytest.mark.parametrize("name", ["a b", "%2e%2e", "ü?x=1#y", "..a", "[x]*'\"", "100%", "日本", "a" * 256, "+plus+"])
async def test_ids_with_odd_characters_can_be_asked_for(api: Api, name: str) -> None:
    await api.deliver(name, "processing")
    assert (await api.workflow(name))["id"] == name
    assert (await api.get(f"{path_of(name)}/transitions")).json["items"][0]["to"] == "processing"
    assert [item["id"] for item in (await api.get("/v1/workflows", q=name)).json["items"]] == [name]


@pytest.mark.parametrize(
    "path", ["/v1/workflows/civ/nobody", "/v1/workflows/nobody/x", "/v1/workflows/civ/%00", "/v1/workflows/civ/%ff"]
)
async def test_what_nobody_has_heard_of_is_a_404_everywhere(api: Api, path: str) -> None:
    for tail in ("", "/transitions", "/evidence", "/document"):
        answer = await api.get(path + tail)
        assert (answer.status, answer.json["type"]) == (404, "/problems/unknown-workflow")
    assert (await api.get("/v1/blobs/civ/nobody")).json["type"] == "/problems/unknown-blob"


async def ids(api: Api, **query: Any) -> list[str]:
    answer = await api.get("/v1/workflows", **query)
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.json["items"]]


async def test_a_list_can_be_narrowed_down_by_each_filter(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "processing")
    await upstream_knows(api, upstream, document("wf-2", url=URL))
    await api.deliver("wf-3", "failed")
    told = {"source": "civ", "id": "wf-4", "context": {"team": "a", "a.b\"'$": "x"}, "ref": "order-77"}
    assert (await api.post("/v1/workflows", told)).status == 201
    middle = (await api.workflow("wf-3"))["first_seen_at"]
    for query, expected in (
        ({}, ["wf-4", "wf-3", "wf-2", "wf-1"]),
        ({"source": "civ"}, ["wf-4", "wf-3", "wf-2", "wf-1"]),
        ({"source": "hinted"}, []),
        ({"status": "processing"}, ["wf-1"]),
        ({"status": ["processing", "failed"]}, ["wf-3", "wf-1"]),
        ({"open": "true"}, ["wf-4", "wf-1"]),
        ({"open": "false"}, ["wf-3", "wf-2"]),
        ({"stale": "true"}, []),
        ({"attention": "any"}, []),
        ({"step_type": "imageGen"}, ["wf-2"]),
        ({"step_type": "videoGen"}, []),
        ({"context.team": "a"}, ["wf-4"]),
        ({"context.team": "b"}, []),
        ({"context.a.b\"'$": "x"}, ["wf-4"]),
        ({"since": middle}, ["wf-4", "wf-3"]),
        ({"until": middle}, ["wf-2", "wf-1"]),
        ({"since": middle.replace("Z", "+00:00")}, ["wf-4", "wf-3"]),
        ({"q": "wf-"}, ["wf-4", "wf-3", "wf-2", "wf-1"]),
        ({"q": "wf_"}, []),
        ({"q": "%"}, []),
        ({"q": "wf-3"}, ["wf-3"]),
        ({"q": JOB[:8]}, ["wf-2"]),
        ({"q": IMAGE}, ["wf-2"]),
        ({"q": "order-7"}, ["wf-4"]),
        ({"open": "true", "q": "wf-1"}, ["wf-1"]),
    ):
        assert await ids(api, **query) == expected, query


async def test_a_check_overdue_by_more_than_a_minute_is_stale(api: Api, database: Database) -> None:
    for name, late in (("wf-1", 59), ("wf-2", 61)):
        await api.deliver(name, "processing")
        due = datetime.now().astimezone().timestamp() - late
        async with database.write() as connection:
            at = datetime.fromtimestamp(due).astimezone()
            await connection.execute(checks.update().where(checks.c.id == name).values(due_at=at))
    assert await ids(api, stale="true") == ["wf-2"]
    assert await ids(api, stale="false") == ["wf-1"]


async def test_attention_is_listed_until_it_is_closed_and_acknowledged_by_name(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "processing")
    for _ in range(3):
        async with upstream.database.write() as connection:
            await connection.execute(checks.update().values(retry_at=None))
        await upstream.settle("wf-1", None)
    (gone,) = (await api.workflow("wf-1"))["attention"]
    assert (gone["kind"], gone["acknowledged_at"]) == ("gone", None)
    assert await ids(api, attention="gone") == await ids(api, attention="any") == ["wf-1"]
    assert await ids(api, attention="overdue") == []
    first = await api.post(f"{path_of('wf-1')}/attention/gone/ack")
    assert (first.status, first.json["acknowledged_by"]) == (200, "tests-write")
    assert (await api.post(f"{path_of('wf-1')}/attention/gone/ack")).json == first.json
    assert (await api.workflow("wf-1"))["attention"] == [first.json]
    last = (await api.get(f"{path_of('wf-1')}/evidence")).json["items"][-1]
    assert (last["kind"], last["decision"]) == ("decision", {"acknowledged": "gone", "by": "tests-write"})
    assert (await api.post(f"{path_of('wf-1')}/attention/overdue/ack")).status == 404
    assert (await api.post(f"{path_of('wf-1')}/attention/nonsense/ack")).status == 404
    await upstream.settle("wf-1", document("wf-1"))
    assert (await api.workflow("wf-1"))["attention"] == []
    assert await ids(api, attention="any") == []


async def test_pages_hold_every_workflow_once_though_more_arrive_meanwhile(api: Api) -> None:
    for n in range(7):
        await api.deliver(f"wf-{n}", "processing")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/v1/workflows", limit=3, **cursor)).json
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        await api.deliver(f"late-{len(seen)}", "processing")
    assert seen == [f"wf-{n}" for n in range(6, -1, -1)]


def _cursor(*held: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(held).encode()).decode().rstrip("=")


BAD_CURSORS = [
    "x", "", "ü", "a" * 5000, _cursor(), _cursor("w"), _cursor("w", "2026-01-01T00:00:00", 1),
    _cursor("w", "2026-01-01T00:00:00Z", 2**63), _cursor("w", "2026-01-01T00:00:00Z", "1"),
    _cursor("j", "2026-01-01T00:00:00Z", 1),
    _cursor("w", "2026-01-01T00:00:00Z", -1), _cursor("w", "2026-01-01T00:00:00Z", True),
]  # fmt: skip


@pytest.mark.parametrize("cursor", BAD_CURSORS)
async def test_a_cursor_that_is_not_ours_is_a_clear_problem(api: Api, cursor: str) -> None:
    answer = await api.get("/v1/workflows", cursor=cursor)
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-cursor")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"limit": "٣"}, {"status": "done"}, {"open": "maybe"},
        {"since": "yesterday"}, {"until": "2026-13-01T00:00:00Z"}, {"attention": "now"}, {"statuss": "failed"},
        {"q": ""}, {"q": "x" * 300}, {"q": "a\x00"}, {"context.": "x"}, {"context.a": "\x00"}, {"source": "\x00"},
        {"step_type": ""},
    ],
)  # fmt: skip
async def test_a_filter_that_cannot_be_right_is_a_clear_problem(api: Api, query: dict[str, str]) -> None:
    answer = await api.get("/v1/workflows", **query)
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-filter"), answer.body


async def test_jobs_are_listed_across_workflows(api: Api, upstream: Upstream) -> None:
    for name in ("wf-1", "wf-2"):
        await upstream_knows(api, upstream, document(name, "succeeded" if name == "wf-1" else "failed"))

    async def found(**query: Any) -> list[str]:
        return [item["workflow"] for item in (await api.get("/v1/jobs", **query)).json["items"]]

    assert await found() == ["wf-2", "wf-1"]
    assert await found(status="failed") == ["wf-2"]
    assert await found(workflow="wf-1") == ["wf-1"]
    assert await found(id=JOB, source="civ") == ["wf-2", "wf-1"]
    assert await found(source="hinted") == []
    page = (await api.get("/v1/jobs", limit=1)).json
    assert page["items"][0]["id"] == JOB
    assert await found(limit=1, cursor=page["next_cursor"]) == ["wf-1"]
    assert (await api.get("/v1/jobs", cursor="x")).json["type"] == "/problems/bad-cursor"


async def test_the_timeline_names_what_caused_each_step(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "scheduled")
    await upstream_knows(api, upstream, document("wf-1"))
    timeline = (await api.get(f"{path_of('wf-1')}/transitions")).json
    assert timeline["next_cursor"] is None
    assert [(one["level"], one["from"], one["to"]) for one in timeline["items"]] == [
        ("workflow", None, "scheduled"),
        ("workflow", "scheduled", "processing"),
        ("workflow", "processing", "succeeded"),
        ("step", None, "succeeded"),
        ("job", None, "succeeded"),
    ]
    assert set(timeline["items"][0]) == {
        "seq", "run", "level", "key", "from", "to", "kind", "evidence", "upstream_at", "recorded_at", "inferred",
    }  # fmt: skip
    evidence = (await api.get(f"{path_of('wf-1')}/evidence")).json["items"]
    assert [one["kind"] for one in evidence] == ["delivery", "delivery", "fetch"]
    assert evidence[2]["id"] == timeline["items"][2]["evidence"]
    assert evidence[2]["size"] == len(json.dumps(upstream.holds["wf-1"]))
    assert not {"body", "headers"} & set(evidence[0])
    page = (await api.get(f"{path_of('wf-1')}/transitions", limit=4)).json
    rest = (await api.get(f"{path_of('wf-1')}/transitions", limit=4, cursor=page["next_cursor"])).json
    assert page["items"] + rest["items"] == timeline["items"]
    assert (await api.get(f"{path_of('wf-1')}/evidence", cursor=page["next_cursor"])).status == 400


async def test_the_document_is_upstreams_newest_byte_for_byte_even_when_it_repeats(
    api: Api, upstream: Upstream
) -> None:
    await api.deliver("wf-1", "processing")
    answer = await api.get(f"{path_of('wf-1')}/document")
    assert (answer.status, answer.json["type"]) == (404, "/problems/no-document")
    for shown in (document("wf-1", "processing"), document("wf-1", url=URL)):
        await upstream.settle("wf-1", shown)
        for _ in range(2):
            answer = await api.get(f"{path_of('wf-1')}/document")
            assert answer.body == json.dumps(shown).encode()
            await upstream.settle("wf-1", shown)
    await upstream.settle("wf-1", "busy")
    assert (await api.get(f"{path_of('wf-1')}/document")).body == json.dumps(shown).encode()
    answer = await api.get(f"{path_of('wf-1')}/document")
    evidence = (await api.get(f"{path_of('wf-1')}/evidence")).json["items"]
    newest, kept = [one for one in evidence if one["http_status"] == 200][-1:-3:-1]
    assert answer.headers["hookledger-evidence"] == newest["id"]
    assert newest["same_as"] is not None
    assert newest["size"] == kept["size"] == len(answer.body)


async def test_the_renewal_of_one_files_url_is_not_taken_for_the_document(api: Api, upstream: Upstream) -> None:
    shown = document("wf-1", url=URL)
    await upstream_knows(api, upstream, shown)
    await upstream.renew("wf-1", {**shown["steps"][0]["output"]["images"][0], "url": f"{URL}2"})
    evidence = (await api.get(f"{path_of('wf-1')}/evidence")).json["items"]
    assert [one["http_status"] for one in evidence] == [None, 200, 200]
    assert (await api.get(f"{path_of('wf-1')}/document")).json == shown
    assert (await api.workflow("wf-1"))["blobs"][0]["url"] == f"{URL}2"


async def test_only_the_present_runs_children_are_shown(api: Api, upstream: Upstream, database: Database) -> None:
    await upstream_knows(api, upstream, document("wf-1", "processing", url=URL))
    async with database.write() as connection:
        await connection.execute(workflows.update().values(run=2))
    told = await api.workflow("wf-1")
    assert (told["run"], told["steps"], told["jobs"], told["blobs"]) == (2, [], [], [])
    assert (await api.get("/v1/jobs")).json["items"] == []
    assert (await api.get(f"/v1/blobs/civ/{IMAGE}")).status == 404
    assert {one["run"] for one in (await api.get(f"{path_of('wf-1')}/transitions")).json["items"]} == {1}


async def test_sources_say_what_is_in_them(api: Api) -> None:
    await api.deliver("wf-1", "failed")
    told = (await api.get("/v1/sources")).json["items"]
    assert [one["name"] for one in told] == ["civ", "hinted", "silent"]
    assert (told[0]["provider"], told[0]["trust"], told[0]["paused"]) == ("civitai", "token", None)
    assert (told[0]["workflows"]["failed"], told[0]["workflows"]["succeeded"]) == (1, 0)
    assert sum(told[1]["workflows"].values()) == 0


TWICE = ["context=red", "context=team%3Dred&context.team=blue", "context=team%3Da&context=team%3Db"]


@pytest.mark.parametrize("query", TWICE)
async def test_a_label_without_a_value_or_with_two_is_a_problem(api: Api, query: str) -> None:
    answer = await api.get(f"/v1/workflows?{query}")
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-filter")


async def test_each_label_that_is_asked_for_is_looked_at_however_alike_they_begin(api: Api) -> None:
    alike = "a" * 40
    answer = await api.get("/v1/workflows", **{f"context.{alike}\0": "x", f"context.{alike}": "y"})
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-filter")
