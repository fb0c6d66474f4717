"""The EvoLink stand-in against UPSTREAMS §3, over real sockets."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from sandbox_client import until
from task_client import Box, Client, gaps, lines

from receiver.sandbox.evolink import running_evolink
from receiver.sandbox.running import Running

IMAGES = "/v1/images/generations"
VIDEOS = "/v1/videos/generations"


def client(session: aiohttp.ClientSession, upstream: Running[Any]) -> Client:
    return Client(session, upstream, {"Authorization": f"Bearer {upstream.api_key}"})


def wanted(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-image-2", "prompt": "a lighthouse", **more}


async def test_a_submit_answers_with_the_documented_task(session: aiohttp.ClientSession) -> None:
    async with running_evolink() as upstream:
        task = (await client(session, upstream).post(IMAGES, wanted())).json
    assert re.fullmatch(r"task-unified-\d{10}-[a-z0-9]{8}", task["id"])
    assert (task["status"], task["progress"], task["object"], task["type"]) == (
        *("pending", 0),
        *("image.generation.task", "image"),
    )
    assert {"created", "model", "task_info", "usage"} < set(task)
    assert "results" not in task
    assert "error" not in task


async def test_the_callback_is_byte_for_byte_what_get_answers(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_evolink(speed=500) as upstream:
        api = client(session, upstream)
        for body in (wanted(n=3), wanted(sandbox={"end": "failed"}), wanted(sandbox={"end": "canceled"})):
            await api.post(IMAGES, {**body, "callback_url": box.hook})
        await upstream.wait_quiet()
        seen = {d.json["id"]: (await api.get(f"/v1/tasks/{d.json['id']}")).body for d in box.got}
    assert [d.body for d in box.got] == list(seen.values())
    assert {d.json["status"]: d.json["progress"] for d in box.got} == {
        "completed": 100,
        "failed": 0,
        "cancelled": next(d.json["progress"] for d in box.got if d.json["status"] == "cancelled"),
    }
    assert [len(d.json["results"]) for d in box.got if d.json["status"] == "completed"] == [3]


async def test_get_shows_the_end_before_the_callback_comes(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_evolink(speed=100, billing_seconds=40) as upstream:
        api = client(session, upstream)
        task = (await api.post(IMAGES, wanted(callback_url=box.hook, sandbox={"seconds": 1}))).json["id"]
        await until(lambda: upstream.truth()["settled"])
        assert (await api.get(f"/v1/tasks/{task}")).json["status"] == "completed"
        assert box.got == []
        await upstream.wait_quiet()
        ended = datetime.fromisoformat(upstream.truth()["workflows"][0]["ended_at"])
        (told,) = lines(upstream, outcome="delivered")
        assert (datetime.fromisoformat(told["time"]) - ended).total_seconds() >= 0.4


async def test_after_retries_of_1_2_4_seconds_there_is_silence(session: aiohttp.ClientSession, box: Box) -> None:
    box.status = lambda number: 404
    async with running_evolink(speed=20) as upstream:
        api = client(session, upstream)
        task = (await api.post(IMAGES, wanted(callback_url=box.hook, sandbox={"seconds": 0.1}))).json["id"]
        await upstream.wait_quiet()
        tries = lines(upstream, lane=task)
        assert (await api.get(f"/v1/tasks/{task}")).json["status"] == "completed"
    assert [line["outcome"] for line in tries] == ["retrying"] * 3 + ["exhausted"]
    waited = gaps(tries, speed=20)
    assert all(pause <= gap < pause + 0.9 for pause, gap in zip((1, 2, 4), waited, strict=True)), waited


@pytest.mark.parametrize(
    ("task", "status", "code"), [("job_1", 400, "invalid_task_id"), ("task-unified-1-aaaaaaaa", 404, "task_not_found")]
)
async def test_a_malformed_id_is_not_an_unknown_one(
    session: aiohttp.ClientSession, task: str, status: int, code: str
) -> None:
    async with running_evolink() as upstream:
        answer = await client(session, upstream).get(f"/v1/tasks/{task}")
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    if status == 400:
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert answer.json["error"]["param"] == "task_id"


async def test_fifty_tasks_are_read_at_once_and_no_more(session: aiohttp.ClientSession) -> None:
    async with running_evolink(speed=500) as upstream:
        api = client(session, upstream)
        ids = [(await api.post(VIDEOS, wanted())).json["id"] for _ in range(3)]
        await upstream.wait_quiet()
        found = (await api.post("/v1/tasks/batch", {"task_ids": [*ids, "task-unified-1-aaaaaaaa"]})).json["data"]
        assert [task["id"] for task in found] == ids
        assert all(task["results"] and task["type"] == "video" for task in found)
        assert (await api.post("/v1/tasks/batch", {"task_ids": ["x"] * 51})).status == 400
        upstream.set_faults(status_429=1)
        assert (await api.post("/v1/tasks/batch", {"task_ids": ids})).status == 429


async def test_the_list_has_no_links_and_can_be_filtered(session: aiohttp.ClientSession) -> None:
    async with running_evolink(speed=500) as upstream:
        api = client(session, upstream)
        image = (await api.post(IMAGES, wanted())).json["id"]
        video = (await api.post(VIDEOS, wanted(sandbox={"end": "failed"}))).json["id"]
        await upstream.wait_quiet()
        both = (await api.get("/v1/tasks?page_size=1")).json
        assert ([task["id"] for task in both["data"]], both["total"], both["page"]) == ([video], 2, 1)
        one = (await api.get("/v1/tasks?status=completed")).json["data"]
        assert [(task["id"], task["has_results"], task["has_error"]) for task in one] == [(image, True, False)]
        assert "results" not in one[0]


async def test_every_task_error_has_its_message(session: aiohttp.ClientSession) -> None:
    async with running_evolink(speed=500) as upstream:
        api = client(session, upstream)
        script = {"end": "failed", "code": "content_policy_violation"}
        named = (await api.post(IMAGES, wanted(sandbox=script))).json["id"]
        said = (await api.post(IMAGES, wanted(sandbox={**script, "message": "nudity detected"}))).json["id"]
        await upstream.wait_quiet()
        first = (await api.get(f"/v1/tasks/{named}")).json["error"]
        second = (await api.get(f"/v1/tasks/{said}")).json["error"]
    assert first["message"] == "Content policy violation. Details: photorealistic people detected."
    assert second == {"code": "content_policy_violation", "message": "nudity detected"}


async def test_http_errors_have_a_code_that_is_a_number_or_a_word(session: aiohttp.ClientSession) -> None:
    async with running_evolink(credits=0) as upstream:
        api = client(session, upstream)
        answers = [await api.post(IMAGES, wanted()) for _ in range(20)]
        assert {answer.status for answer in answers} == {402}
        assert {type(answer.json["error"]["code"]) for answer in answers} == {int, str}
        assert {answer.json["error"]["type"] for answer in answers} == {"insufficient_quota_error"}
        upstream.set_faults(codes="int", submit_503=1)
        busy = await api.post(IMAGES, wanted())
        assert (busy.status, busy.json["error"]["code"]) == (503, 503)
        refused = await api.post(IMAGES, wanted(sandbox={"refuse": "no_available_channel"}))
        assert (refused.status, refused.json["error"]["code"]) == (503, "no_available_channel")
        wrong = await api.get("/v1/tasks", key=False)
        assert (wrong.status, wrong.json["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize(
    ("url", "knobs", "status"),
    [
        ("http://127.0.0.1:1/x", {}, 200),
        ("http://127.0.0.1:1/x", {"refuse_private": True}, 400),
        ("https://10.1.2.3/x", {"refuse_private": True}, 400),
        ("https://172.20.0.1/x", {"refuse_private": True}, 400),
        ("https://192.168.0.1/x", {"refuse_private": True}, 400),
        ("https://93.184.216.34/x", {"refuse_private": True}, 200),
        ("http://93.184.216.34/x", {"allow_http": False}, 400),
        ("https://x.test/" + "a" * 2048, {}, 400),
        (7, {}, 400),
    ],
)
async def test_internal_callback_addresses_can_be_refused(
    session: aiohttp.ClientSession, url: Any, knobs: dict[str, Any], status: int
) -> None:
    async with running_evolink(**knobs) as upstream:
        answer = await client(session, upstream).post(IMAGES, wanted(callback_url=url, sandbox={"hold": True}))
        assert answer.status == status
        if status == 400:
            assert answer.json["error"]["param"] == "callback_url"


async def test_results_end_after_their_day_unless_reads_sign_afresh(session: aiohttp.ClientSession) -> None:
    async with running_evolink(speed=500, url_ttl=86400) as upstream:
        api = client(session, upstream)
        task = (await api.post(IMAGES, wanted())).json["id"]
        await upstream.wait_quiet()
        url = (await api.get(f"/v1/tasks/{task}")).json["results"][0]
        assert (await api.get(url, key=False)).status == 200
        upstream.advance(86401)
        assert (await api.get(f"/v1/tasks/{task}")).json["results"] == [url]
        assert (await api.get(url, key=False)).status == 403
        upstream.set_faults(resign=True)
        fresh = (await api.get(f"/v1/tasks/{task}")).json["results"][0]
        assert (await api.get(fresh, key=False)).status == 200


async def test_an_idempotency_key_replays_the_task(session: aiohttp.ClientSession) -> None:
    async with running_evolink() as upstream:
        api = client(session, upstream)
        first = await api.post(IMAGES, wanted(), headers={"Idempotency-Key": "k"})
        again = await api.post(IMAGES, wanted(), headers={"Idempotency-Key": "k"})
        assert first.json["id"] == again.json["id"]
        other = await api.post(IMAGES, wanted(prompt="a harbour"), headers={"Idempotency-Key": "k"})
        assert (other.status, other.json["error"]["code"]) == (409, "idempotency_conflict")
        assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")


async def test_a_failed_callback_may_leave_out_its_error(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_evolink(speed=500, fail=1.0, callback_without_error=True) as upstream:
        api = client(session, upstream)
        task = (await api.post(IMAGES, wanted(callback_url=box.hook))).json["id"]
        await upstream.wait_quiet()
        assert "error" not in box.got[0].json
        assert (await api.get(f"/v1/tasks/{task}")).json["error"]["code"]


async def test_truth_says_cancelled_with_two_ls_and_canonical_with_one(session: aiohttp.ClientSession) -> None:
    async with running_evolink(speed=500, cancel=1.0) as upstream:
        await client(session, upstream).post(IMAGES, wanted())
        await upstream.wait_quiet()
        shown = upstream.truth()["workflows"][0]
    assert (shown["status"], shown["canonical"], shown["settled"]) == ("cancelled", "canceled", True)
