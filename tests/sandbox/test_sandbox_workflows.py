"""Submitting, reading, listing, canceling: the consumer API over a real socket."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from sandbox_client import WORKFLOWS, Caller, Inbox, echo, image, until

from receiver.sandbox.civitai import running_civitai

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z")
ENDED = ("succeeded", "failed", "expired", "canceled")


async def test_a_submit_answers_202_with_the_running_workflow_and_no_output(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        answer = await api.submit(image(), image(), tags=["a"], metadata={"mine": 1})
        body = answer.json
        assert answer.status == 202
        assert re.fullmatch(r"\d+-\d{17}", body["id"])
        assert body["status"] == "unassigned"
        assert [s["name"] for s in body["steps"]] == ["$0", "$1"]
        assert all("output" not in s for s in body["steps"])
        assert STAMP.fullmatch(body["createdAt"])
        assert (body["tags"], body["metadata"], body["currencies"]) == (["a"], {"mine": 1}, ["yellow"])
        for required in ("arguments", "callbacks", "cost", "forceRefunded", "tips", "upgradeMode"):
            assert required in body
        again = await api.get(f"{WORKFLOWS}/{body['id']}")
        assert (again.status, again.json["id"]) == (202, body["id"])


async def test_a_wait_that_sees_the_end_answers_200_with_the_output(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=200) as upstream:
        api = Caller(session, upstream)
        body = await api.finished(image(nsfwLevel="pg"), {"$type": "videoGen", "input": {"quantity": 2}}, echo())
        images, video, message = (s["output"] for s in body["steps"])
        assert body["status"] == "succeeded"
        assert STAMP.fullmatch(body["completedAt"])
        assert message == {"message": "hello"}
        assert (video["video"]["type"], len(video["additionalVideos"])) == ("video", 1)
        blob = images["images"][0]
        assert re.fullmatch(r"[0-9A-Z]{26}\.(jpeg|png)", blob["id"])
        assert (blob["type"], blob["available"], blob["nsfwLevel"], blob["width"]) == ("image", True, "pg", 1024)
        assert blob["jobId"] in [job["id"] for job in body["steps"][0]["jobs"]]
        assert (await api.get(f"{WORKFLOWS}/{body['id']}")).status == 200


async def test_a_scan_step_has_an_output_of_its_own(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=200) as upstream:
        body = await Caller(session, upstream).finished({"$type": "mediaRating", "input": {"mediaUrl": "x"}})
        assert body["steps"][0]["output"] == {"nsfwLevel": "pg", "isBlocked": False}


async def test_a_wait_that_is_too_short_answers_202_in_time(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=5) as upstream:
        began = asyncio.get_running_loop().time()
        answer = await Caller(session, upstream).submit(image(hold=True), wait=1)
        assert answer.status == 202
        assert 0.9 < asyncio.get_running_loop().time() - began < 3


async def test_until_change_returns_at_the_first_change(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=20) as upstream:
        api = Caller(session, upstream)
        first = (await api.submit(image(hold=True, seconds=10))).json
        answer = await api.get(f"{WORKFLOWS}/{first['id']}", wait=10, until="change")
        assert answer.status == 202
        assert answer.json["steps"][0]["jobs"][0]["status"] != first["steps"][0]["jobs"][0]["status"]


async def test_a_wait_beyond_the_gateway_is_answered_524_in_html(session: aiohttp.ClientSession) -> None:
    async with running_civitai(gateway_timeout=0.1) as upstream:
        answer = await Caller(session, upstream).submit(image(hold=True), wait=90)
        assert answer.status == 524
        assert answer.body.startswith(b"<!DOCTYPE html>")


async def test_stopping_ends_a_long_wait_at_once(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        waiting = asyncio.create_task(Caller(session, upstream).submit(image(hold=True), wait=60))
        await asyncio.sleep(0.1)
    assert (await asyncio.wait_for(waiting, 20)).status == 202


async def test_an_external_id_returns_the_workflow_that_exists(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        first = await api.submit(externalId="order-1")
        second = await api.submit(externalId="order-1")
        other = await api.submit(externalId="order-2")
        assert first.json["id"] == second.json["id"] != other.json["id"]
        assert second.json["externalId"] == "order-1"
        assert len(upstream.truth()["workflows"]) == 2


async def test_a_submit_that_answers_500_may_have_created_the_workflow(session: aiohttp.ClientSession) -> None:
    async with running_civitai(submit_500=1) as upstream:
        api = Caller(session, upstream)
        assert (await api.submit(externalId="order-1")).status == 500
        assert (await api.submit(externalId="order-1")).json["id"] == upstream.truth()["workflows"][0]["id"]


async def test_whatif_shows_the_cost_and_keeps_nothing(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        answer = await Caller(session, upstream).call("POST", WORKFLOWS, body={"steps": [image()]}, whatif="true")
        assert (answer.status, answer.json["id"], answer.json["cost"]["total"]) == (200, None, 4)
        assert upstream.truth()["workflows"] == []


async def test_an_ephemeral_workflow_is_not_found_after_its_end(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=100) as upstream:
        api = Caller(session, upstream)
        refused = await api.submit(echo(), ephemeral=True)
        assert (refused.status, list(refused.json["errors"])) == (400, ["ephemeral"])
        body = await api.finished(echo(), ephemeral=True)
        assert body["steps"][0]["output"] == {"message": "hello"}
        assert (await api.get(f"{WORKFLOWS}/{body['id']}")).status == 404
        truth = upstream.truth()["workflows"][0]
        assert (truth["visible"], truth["status"]) == (False, "succeeded")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"steps": []}, "steps"),
        ({"steps": None}, "steps"),
        ({"steps": [{"$type": "nonsense", "input": {}}]}, "steps[0].$type"),
        ({"steps": [{"$type": "echo"}]}, "steps[0].input"),
        ({"steps": [echo("a"), echo("a")]}, "steps[1].name"),
        ({"steps": [{**echo(), "timeout": "soon"}]}, "steps[0].timeout"),
        ({"steps": [{"$type": "echo", "input": {"message": {"$ref": "later"}}}]}, "steps[0].input"),
        ({"externalId": "not ok"}, "externalId"),
        ({"tags": ["a", "a"]}, "tags"),
        ({"callbacks": [{"type": ["workflow:*"]}]}, "callbacks[0].url"),
        ({"callbacks": [{"url": "ftp://x/", "type": ["workflow:*"]}]}, "callbacks[0].url"),
        ({"callbacks": [{"url": "https://x/", "type": ["workflow:preparing"]}]}, "callbacks[0].type"),
        ({"callbacks": [{"url": "https://x/", "type": []}]}, "callbacks[0].type"),
        ({"callbacks": [{"url": "https://x/", "type": ["job:*"], "detailed": 1}]}, "callbacks[0].detailed"),
        ({"callbacks": [{"url": "https://x/", "type": ["job:*"], "secret": "s"}]}, "callbacks[0].secret"),
    ],
)
async def test_what_is_wrong_with_a_submit_is_named_by_its_path(
    session: aiohttp.ClientSession, fields: dict[str, Any], path: str
) -> None:
    async with running_civitai() as upstream:
        answer = await Caller(session, upstream).submit(**fields) if "steps" not in fields else None
        answer = answer or await Caller(session, upstream).call("POST", WORKFLOWS, body=fields)
        assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
        assert path in answer.json["errors"]
        assert upstream.truth()["workflows"] == []


async def test_every_one_of_the_21_filters_is_taken(session: aiohttp.ClientSession) -> None:
    words = ("*", "unassigned", "processing", "succeeded", "failed", "expired", "canceled")
    types = [f"{level}:{word}" for level in ("workflow", "step", "job") for word in words]
    async with running_civitai() as upstream:
        callbacks = [{"url": "https://hooks.invalid/", "type": types, "detailed": True}]
        answer = await Caller(session, upstream).submit(callbacks=callbacks)
        assert (answer.status, answer.json["callbacks"]) == (202, callbacks)


async def test_plain_http_callbacks_are_refused_when_asked_to(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(allow_http=False) as upstream:
        answer = await Caller(session, upstream).submit(callbacks=[inbox.callback()])
        assert (answer.status, list(answer.json["errors"])) == (400, ["callbacks[0].url"])


async def test_without_the_right_key_every_call_is_a_401_problem(session: aiohttp.ClientSession) -> None:
    async with running_civitai(api_key="right") as upstream:
        api = Caller(session, upstream)
        for path in (WORKFLOWS, f"{WORKFLOWS}/x", "/v2/consumer/blobs/x"):
            answer = await api.get(path, key=False)
            assert (answer.status, answer.json["status"]) == (401, 401)
        assert (await api.get(WORKFLOWS)).status == 200
        upstream.set_faults(revoked=True)
        assert (await api.get(WORKFLOWS)).status == 401
        upstream.set_faults(revoked=False, api_key="new")
        assert (await api.get(WORKFLOWS)).status == 401
        assert (await Caller(session, upstream).get(WORKFLOWS)).status == 200


async def test_an_empty_account_is_a_403_whose_body_is_a_bare_json_string(session: aiohttp.ClientSession) -> None:
    async with running_civitai(buzz=4) as upstream:
        api = Caller(session, upstream)
        assert (await api.submit()).status == 202
        answer = await api.submit()
        assert (answer.status, type(answer.json)) == (403, str)


async def test_a_cancel_is_204_and_ends_everything_that_was_open(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=20) as upstream:
        api = Caller(session, upstream)
        workflow_id = (await api.submit(image(hold=True), echo())).json["id"]
        await until(lambda: upstream.truth()["workflows"][0]["steps"][1]["status"] == "succeeded")
        path = f"{WORKFLOWS}/{workflow_id}"
        running = await api.get(path)
        assert running.status == 202
        assert all("output" not in step for step in running.json["steps"])
        assert (await api.get(f"{path}/steps/$1")).json["output"] == {"message": "hello"}
        assert (await api.call("PUT", path, body={"status": "canceled"})).status == 204
        answer = await api.get(path)
        assert (answer.status, answer.json["status"]) == (200, "canceled")
        assert [s["status"] for s in answer.json["steps"]] == ["canceled", "succeeded"]
        assert (await api.call("PUT", path, body={"status": "canceled"})).status == 409
        assert (await api.call("PUT", path, body={"status": "failed"})).status == 400
        assert (await api.call("PUT", path, body={"callbacks": []})).status == 400
        assert (await api.call("PUT", f"{WORKFLOWS}/x", body={})).status == 404


async def test_a_deleted_workflow_is_canceled_and_not_found(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        path = f"{WORKFLOWS}/{(await api.submit()).json['id']}"
        assert (await api.call("DELETE", path)).status == 204
        assert [(await api.call(m, path)).status for m in ("GET", "DELETE")] == [404, 404]
        truth = upstream.truth()["workflows"][0]
        assert (truth["status"], truth["visible"]) == ("canceled", False)
        assert truth["deleted_at"] is not None
        assert (await api.get(WORKFLOWS)).json["items"] == []


async def test_metadata_tags_and_steps_can_be_changed(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        path = f"{WORKFLOWS}/{(await api.submit(image(), echo('second'))).json['id']}"
        assert (await api.call("PUT", path, body={"tags": ["new"]})).status == 204
        patch = [{"op": "add", "path": "/metadata/note", "value": 7}]
        assert (await api.call("PATCH", path, body=patch)).status == 204
        assert (await api.call("PATCH", path, body=[{"op": "add", "path": "/status", "value": 1}])).status == 400
        body = (await api.get(path)).json
        assert (body["tags"], body["metadata"]) == (["new"], {"note": 7})
        step = await api.get(f"{path}/steps/second")
        assert (step.status, step.json["$type"], step.json["name"]) == (200, "echo", "second")
        assert (await api.get(f"{path}/steps/none")).status == 404


async def test_a_step_that_has_started_can_no_longer_be_changed(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=50) as upstream:
        api = Caller(session, upstream)
        path = f"{WORKFLOWS}/{(await api.finished(echo()))['id']}/steps/$0"
        assert (await api.call("PUT", path, body={"metadata": {"a": 1}})).status == 409


async def test_the_list_pages_newest_first_by_cursor(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        ids = [(await api.submit(tags=["even" if n % 2 == 0 else "odd"])).json["id"] for n in range(5)]
        pages: list[list[str]] = []
        cursor: dict[str, str] = {}
        while True:
            body = (await api.get(WORKFLOWS, take=2, **cursor)).json
            pages.append([item["id"] for item in body["items"]])
            if body["next"] is None:
                break
            cursor = {"cursor": body["next"]}
        assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
        upward = (await api.get(WORKFLOWS, ascending="true", tags=["odd"])).json["items"]
        assert [item["id"] for item in upward] == [ids[1], ids[3]]
        assert (await api.get(WORKFLOWS, fromDate=datetime.now(UTC).isoformat())).json["items"] == []
        assert len((await api.get(WORKFLOWS, toDate=datetime.now(UTC).isoformat())).json["items"]) == 5
        assert (await api.get(WORKFLOWS, cursor="nonsense")).status == 400
        assert (await api.get(WORKFLOWS, take="-1")).status == 400


async def test_the_list_hides_mature_urls_unless_told_not_to(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=200) as upstream:
        api = Caller(session, upstream)
        body = await api.finished(image(nsfwLevel="x"), image(nsfwLevel="pg"))

        def urls(shown: dict[str, Any]) -> list[bool]:
            return [bool(step["output"]["images"][0]["url"]) for step in shown["steps"]]

        assert urls(body) == [True, True]
        assert urls((await api.get(WORKFLOWS)).json["items"][0]) == [False, True]
        assert urls((await api.get(WORKFLOWS, hideMatureContent="false")).json["items"][0]) == [True, True]
        one = await api.get(f"{WORKFLOWS}/{body['id']}", hideMatureContent="true")
        assert urls(one.json) == [False, True]


async def test_the_list_can_leave_out_what_failed(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=100) as upstream:
        api = Caller(session, upstream)
        good = await api.finished(echo())
        await api.finished(echo(end="failed"))
        assert len((await api.get(WORKFLOWS)).json["items"]) == 2
        shown = (await api.get(WORKFLOWS, excludeFailed="true")).json["items"]
        assert [item["id"] for item in shown] == [good["id"]]
