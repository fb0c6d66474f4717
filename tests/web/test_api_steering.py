"""Steering over HTTP: register a workflow, have upstream asked, wait for what comes of it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from receiver.config import Config
from receiver.ledger.database import Database
from tests.web.asking import JOB, Api, Upstream, document, make_token, path_of
from tests.web.conftest import TOKEN, Running


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "write"))


@pytest.fixture
def upstream(database: Database, config: Config) -> Upstream:
    return Upstream(database, config)


TOLD: dict[str, Any] = {
    "source": "civ",
    "id": "wf-1",
    "submitted_at": "2026-01-21T22:21:26Z",
    "request": {"steps": [{"$type": "videoGen", "input": {"engine": "wan", "version": "v2.6", "format": "mp4"}}]},
    "media": {"duration": 12.5, "codec": "h264"},
    "context": {"team": "a"},
    "ref": "order-77",
}


async def test_a_tracked_workflow_keeps_what_was_told_of_it(api: Api) -> None:
    answer = await api.post("/v1/workflows", TOLD)
    assert answer.status == 201
    told = await api.workflow("wf-1")
    assert told == answer.json
    assert (told["first_seen_via"], told["submitted_at"], told["ref"]) == ("track", "2026-01-21T22:21:26Z", "order-77")
    assert (told["model"], told["output_format"], told["request"]) == ("wan/v2.6", "mp4", TOLD["request"])
    assert (told["source_media"], told["context"]) == (TOLD["media"], TOLD["context"])
    assert told["next_check_at"] is not None


async def test_tracking_again_changes_nothing_and_tracking_more_adds(api: Api) -> None:
    first = (await api.post("/v1/workflows", TOLD)).json
    again = await api.post("/v1/workflows", TOLD)
    assert (again.status, again.json) == (200, first)
    assert len((await api.get(f"{path_of('wf-1')}/evidence")).json["items"]) == 1
    more = await api.post("/v1/workflows", {"source": "civ", "id": "wf-1", "context": {"who": "me"}})
    assert (more.status, more.json["context"]) == (200, {"team": "a", "who": "me"})
    assert more.json["ref"] == "order-77"


async def test_a_track_after_the_callback_adds_its_context_and_moves_no_status(api: Api) -> None:
    await api.deliver("wf-1", "succeeded")
    answer = await api.post("/v1/workflows", {**TOLD, "response": document("wf-1", "processing")})
    assert answer.status == 200
    assert (answer.json["status"], answer.json["context"]) == ("succeeded", {"team": "a"})
    assert [job["id"] for job in answer.json["jobs"]] == [JOB]


async def test_the_callback_after_a_track_fills_in_the_rest(api: Api) -> None:
    await api.post("/v1/workflows", TOLD)
    await api.deliver("wf-1", "processing")
    told = await api.workflow("wf-1")
    assert (told["status"], told["ref"], told["first_seen_via"]) == ("processing", "order-77", "track")


async def test_the_answer_to_the_submission_names_the_workflow(api: Api) -> None:
    answer = await api.post("/v1/workflows", {"source": "civ", "response": document("wf-9", "unassigned")})
    assert (answer.status, answer.json["id"]) == (201, "wf-9")


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in TOLD.items() if key != name}


@pytest.mark.parametrize(
    ("told", "named"),
    [
        (_without("id"), "id"),
        (_without("source"), "source"),
        ({**TOLD, "id": "a/b"}, "id"),
        ({**TOLD, "id": ".."}, "id"),
        ({**TOLD, "id": 7}, "id"),
        ({**TOLD, "response": document("wf-2")}, "response"),
        ({**TOLD, "response": []}, "response"),
        ({**TOLD, "response": {"title": "Bad", "status": 400}}, "response"),
        ({**TOLD, "request": "x"}, "request"),
        ({**TOLD, "media": 5}, "media"),
        ({**TOLD, "context": {"a": 1}}, "context"),
        ({**TOLD, "context": {"": "x"}}, "context"),
        ({**TOLD, "context": {str(n): "x" for n in range(65)}}, "context"),
        ({**TOLD, "ref": ""}, "ref"),
        ({**TOLD, "ref": 1}, "ref"),
        ({**TOLD, "submitted_at": "yesterday"}, "submitted_at"),
        ({**TOLD, "submitted_at": "2999-01-01T00:00:00Z"}, "submitted_at"),
        ({**TOLD, "statuss": 1}, "statuss"),
    ],
)
async def test_what_cannot_be_tracked_is_a_clear_problem_and_changes_nothing(
    api: Api, told: dict[str, Any], named: str
) -> None:
    answer = await api.post("/v1/workflows", told)
    assert (answer.status, answer.json["type"]) == (422, "/problems/bad-track")
    assert named in answer.json["detail"]
    assert (await api.get("/v1/workflows")).json["items"] == []


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"null", b'{"a":NaN}', b'{"a":' * 5000, b'"\\ud800"', b"\xff"])
async def test_a_body_that_is_no_json_object_is_a_clear_problem(api: Api, body: bytes) -> None:
    answer = await api.post("/v1/workflows", body)
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-request")


async def test_a_body_beyond_the_cap_is_refused(api: Api) -> None:
    answer = await api.post("/v1/workflows", {**TOLD, "request": {"x": "a" * 2**20}})
    assert (answer.status, answer.json["type"]) == (413, "/problems/too-large")


async def test_odd_characters_in_what_is_tracked_do_no_harm(api: Api) -> None:
    odd = {"source": "civ", "id": "wf-1", "context": {"a": "x\x00y", "b": "\U0001f98a'\""}, "request": {"z": "\x00"}}
    assert (await api.post("/v1/workflows", odd)).status == 201
    assert (await api.workflow("wf-1"))["context"]["b"] == "\U0001f98a'\""


async def test_an_unknown_source_is_a_404(api: Api) -> None:
    for answer in (
        await api.post("/v1/workflows", {**TOLD, "source": "nobody"}),
        await api.post("/v1/workflows/nobody/x/refetch"),
    ):
        assert (answer.status, answer.json["type"]) == (404, "/problems/unknown-source")
    assert (await api.post(f"{path_of('nobody')}/refetch")).json["type"] == "/problems/unknown-workflow"


async def test_what_is_stored_of_a_request_holds_no_secret(api: Api, database: Database) -> None:
    hook = f"https://hooks.example.com/hooks/civ?token={TOKEN}"
    request = {"callbacks": [{"url": hook}], "metadata": {"note": hook}, "steps": []}
    response = {
        **document("wf-1", "unassigned"),
        "callbacks": [{"url": hook}],
        "metadata": {"key": "api-key-of-the-tests"},
    }
    told = {**TOLD, "request": request, "response": response, "context": {"hook": hook}, "media": {"from": hook}}
    answer = await api.post("/v1/workflows", told)
    assert answer.status == 201
    async with database.read() as connection:
        for table in ("workflows", "steps", "evidence", "delivery_keys"):
            stored = repr((await connection.exec_driver_sql(f"SELECT * FROM {table}")).all())
            assert TOKEN not in stored, table
            assert "api-key-of-the-tests" not in stored, table
    assert "[secret]" in answer.json["context"]["hook"]


async def test_a_refetch_makes_a_look_due_now(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "processing")
    answer = await api.post(f"{path_of('wf-1')}/refetch")
    assert answer.status == 202
    told = await api.workflow("wf-1")
    assert told["check"]["wanted_at"] == answer.json["wanted_at"] == told["next_check_at"]
    assert told["check"]["lane"] == "interactive"
    upstream.holds["wf-1"] = document("wf-1")
    assert await upstream.look() == 1
    assert (await api.workflow("wf-1"))["status"] == "succeeded"


async def test_a_refetch_that_waits_answers_with_what_the_look_brought(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "processing")
    upstream.holds["wf-1"] = document("wf-1")
    async with upstream.answering():
        answer = await api.post(f"{path_of('wf-1')}/refetch", wait=5)
        assert (answer.status, answer.json["status"]) == (200, "succeeded")
        upstream.holds["wf-1"] = None
        answer = await api.post(f"{path_of('wf-1')}/refetch", wait=5)
        assert answer.status == 200
    assert upstream.asked == ["wf-1", "wf-1"]


async def test_a_refetch_without_a_reconciler_answers_202_with_things_as_they_stand(api: Api) -> None:
    await api.deliver("wf-1", "processing")
    began = time.monotonic()
    answer = await api.post(f"{path_of('wf-1')}/refetch", wait=0.5)
    assert (answer.status, answer.json["status"]) == (202, "processing")
    assert 0.4 < time.monotonic() - began < 5


async def test_an_upstream_that_is_down_leaves_a_refetch_at_202(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "processing")
    upstream.holds["wf-1"] = "busy"
    async with upstream.answering():
        answer = await api.post(f"{path_of('wf-1')}/refetch", wait=4)
    assert (answer.status, answer.json["check"]["last_error"]) == (202, "upstream answered 503")


async def test_waiting_for_the_end_has_upstream_asked_and_answers_when_it_has_come(
    api: Api, upstream: Upstream
) -> None:
    await api.deliver("wf-1", "processing")
    upstream.holds["wf-1"] = document("wf-1")
    async with upstream.answering():
        answer = await api.get(path_of("wf-1"), wait=30, until="terminal")
    assert (answer.status, answer.json["status"]) == (200, "succeeded")


async def test_waiting_for_the_end_has_upstream_asked_again_when_it_was_too_early(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "processing")
    upstream.holds["wf-1"] = document("wf-1", "processing")
    async with upstream.answering():
        waiting = asyncio.create_task(api.get(path_of("wf-1"), wait=30, until="terminal"))
        async with asyncio.timeout(10):
            while not upstream.asked:  # noqa: ASYNC110 - it is the stand-in's list that we wait for
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        upstream.holds["wf-1"] = document("wf-1")
        answer = await asyncio.wait_for(waiting, 12)
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert upstream.asked == ["wf-1", "wf-1"]


async def test_waiting_for_the_end_ends_with_the_callback_too(api: Api) -> None:
    await api.deliver("wf-1", "processing")
    waiting = asyncio.create_task(api.get(path_of("wf-1"), wait=30, until="terminal"))
    await asyncio.sleep(0.5)
    await api.deliver("wf-1", "failed")
    answer = await asyncio.wait_for(waiting, 5)
    assert (answer.status, answer.json["status"]) == (200, "failed")


async def test_waiting_without_progress_answers_202_with_the_current_state(api: Api) -> None:
    await api.deliver("wf-1", "processing")
    for query in ({"until": "terminal"}, {}):
        answer = await api.get(path_of("wf-1"), wait=0.4, **query)
        assert (answer.status, answer.json["status"]) == (202, "processing")


async def test_waiting_for_a_change_ends_with_any_transition(api: Api) -> None:
    await api.deliver("wf-1", "scheduled")
    waiting = asyncio.create_task(api.get(path_of("wf-1"), wait=30))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await api.deliver("wf-1", "processing")
    answer = await asyncio.wait_for(waiting, 5)
    assert (answer.status, answer.json["status"]) == (200, "processing")


async def test_what_has_ended_is_answered_at_once_and_nobody_is_asked(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "succeeded")
    await upstream.settle("wf-1", document("wf-1"))
    for query in ({"until": "terminal"}, {}):
        answer = await asyncio.wait_for(api.get(path_of("wf-1"), wait=30, **query), 3)
        assert (answer.status, answer.json["check"]["wanted_at"]) == (200, None)


@pytest.mark.parametrize("query", [{"wait": "x"}, {"wait": "-1"}, {"wait": "61"}, {"wait": "nan"}, {"until": "later"}])
async def test_a_wait_that_cannot_be_is_a_clear_problem(api: Api, query: dict[str, str]) -> None:
    await api.deliver("wf-1", "processing")
    answer = await api.get(path_of("wf-1"), **query)
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-filter")


async def test_nobody_is_kept_waiting_by_a_receiver_that_ends(api: Api) -> None:
    await api.deliver("wf-1", "processing")
    waiting = asyncio.create_task(api.get(path_of("wf-1"), wait=30, until="terminal"))
    await asyncio.sleep(0.5)
    api.running.site.stopping.set()
    assert json.loads((await asyncio.wait_for(waiting, 3)).body)["status"] == "processing"
