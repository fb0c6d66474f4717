"""What arrives at a registered callback, and when."""

from __future__ import annotations

import asyncio
import re
import time
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from sandbox_client import WORKFLOWS, Caller, Inbox, echo, image, until

from receiver.sandbox.civitai import RunningCivitai, running_civitai

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z")
ENDED = ("succeeded", "failed", "expired", "canceled")
ORDER = {"unassigned": 0, "preparing": 1, "scheduled": 1, "processing": 2} | dict.fromkeys(ENDED, 3)


def outcomes(upstream: RunningCivitai) -> list[str]:
    """What became of every try, in order."""
    return [line["outcome"] for line in upstream.log()["callbacks"]]


async def test_all_three_levels_are_told_with_exactly_their_fields(
    session: aiohttp.ClientSession, inbox: Inbox
) -> None:
    async with running_civitai(speed=100) as upstream:
        body = await Caller(session, upstream).finished(image(failing=1), callbacks=[inbox.callback()])
        await upstream.wait_quiet()
    for event in inbox.of_level("workflow"):
        assert set(event) == {"$type", "workflowId", "status", "timestamp"}
        assert (event["$type"], event["workflowId"]) == ("workflow", body["id"])
        assert STAMP.fullmatch(event["timestamp"])
    for event in inbox.of_level("step"):
        assert set(event) - {"preparation"} == {"$type", "workflowId", "name", "status"}
        assert (event["$type"], event["name"]) == ("step", "$0")
    nullable = {"progress", "reason", "blockedReason", "matureContent"}
    for event in inbox.of_level("job"):
        assert set(event) == {"$type", "workflowId", "stepName", "jobId", "status"} | nullable
        assert event["$type"] == "job"
    assert len(inbox.events) == sum(len(inbox.of_level(level)) for level in ("workflow", "step", "job"))
    assert set(inbox.queries) == {"token=tok"}


async def test_detailed_callbacks_carry_details_on_workflows_and_steps_only(
    session: aiohttp.ClientSession, inbox: Inbox
) -> None:
    async with running_civitai(speed=100) as upstream:
        callback = inbox.callback(detailed=True)
        await Caller(session, upstream).finished(image(nsfwLevel="pg"), callbacks=[callback], metadata={"a": 1})
        await upstream.wait_quiet()
    last = inbox.of_level("workflow")[-1]["details"]
    assert {"createdAt", "startedAt", "completedAt", "metadata", "arguments", "steps"} == set(last)
    assert last["metadata"] == {"a": 1}
    assert set(last["steps"][0]) == {"name", "status", "startedAt", "completedAt", "metadata", "input", "output"}
    step = inbox.of_level("step")[-1]["details"]
    assert step["output"]["images"][0]["id"] == last["steps"][0]["output"]["images"][0]["id"]
    assert "output" not in inbox.of_level("step")[0]["details"]
    assert step["retries"] >= 0
    assert all("details" not in event for event in inbox.of_level("job"))


async def test_only_the_registered_kinds_are_sent(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=100) as upstream:
        types = ["workflow:succeeded", "job:failed"]
        await Caller(session, upstream).finished(image(failing=2), callbacks=[inbox.callback(types)])
        await upstream.wait_quiet()
    assert [event["status"] for event in inbox.events] == ["failed", "failed", "succeeded"]


async def test_one_workflow_is_told_in_order_and_one_at_a_time(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    inbox.pause = 0.02
    async with running_civitai(speed=100, seed=3) as upstream:
        api = Caller(session, upstream)
        for _ in range(4):
            await api.submit(image(), echo(), callbacks=[inbox.callback()])
        await upstream.wait_quiet()
        ids = [w["id"] for w in upstream.truth()["workflows"]]
    assert inbox.most_in_flight == 1
    for workflow_id in ids:
        told = [event["status"] for event in inbox.of_level("workflow") if event["workflowId"] == workflow_id]
        ranks = [ORDER[status] for status in told]
        assert ranks == sorted(ranks)
        assert told[-1] == "succeeded"
        assert told.count("succeeded") == 1


async def test_a_failing_receiver_blocks_its_workflow_and_no_other(
    session: aiohttp.ClientSession, inbox: Inbox
) -> None:
    stuck: list[str] = []
    inbox.status = lambda number, event: 503 if event["workflowId"] in stuck else 200
    async with running_civitai(speed=20, callback_backoff=8) as upstream:
        api = Caller(session, upstream)
        stuck.append((await api.submit(echo(), callbacks=[inbox.callback(["workflow:*"])])).json["id"])
        await api.finished(echo(), callbacks=[inbox.callback(["workflow:*"])])
        await until(lambda: any(e["status"] == "succeeded" for e in inbox.answered))
        seen = [e["status"] for e in inbox.events if e["workflowId"] == stuck[0]]
        assert set(seen) == {"unassigned"}
        stuck.clear()
        await upstream.wait_quiet()
    told = [e["status"] for e in inbox.answered if e["workflowId"] == inbox.events[0]["workflowId"]]
    assert (told[0], told[-1]) == ("unassigned", "succeeded")


@pytest.mark.parametrize("status", [500, 503, 408, 429])
async def test_a_transient_answer_is_retried_three_times_and_then_dropped(
    session: aiohttp.ClientSession, inbox: Inbox, status: int
) -> None:
    inbox.status = lambda number, event: status if event["status"] == "unassigned" else 200
    async with running_civitai(speed=100) as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:unassigned"])])
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:succeeded"])])
        await upstream.wait_quiet()
        tries = [line for line in upstream.log()["callbacks"] if line["event"]["status"] == "unassigned"]
    assert [line["outcome"] for line in tries] == ["retrying", "retrying", "retrying", "exhausted"]
    assert {line["status"] for line in tries} == {status}
    assert [e["status"] for e in inbox.answered] == ["succeeded"]


async def test_after_an_exhaustion_the_next_event_is_still_sent(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    inbox.status = lambda number, event: 500 if event["status"] == "unassigned" else 200
    async with running_civitai(speed=200) as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:*"])])
        await upstream.wait_quiet()
    assert [e["status"] for e in inbox.answered][-1] == "succeeded"


async def test_told_to_stop_after_an_exhaustion_nothing_more_is_sent(
    session: aiohttp.ClientSession, inbox: Inbox
) -> None:
    inbox.status = lambda number, event: 500
    async with running_civitai(speed=200, on_exhaustion="stop") as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:*"])])
        await upstream.wait_quiet()
        assert outcomes(upstream).count("exhausted") == 1
        assert outcomes(upstream)[-1] == "stopped"
    assert {e["status"] for e in inbox.events} == {"unassigned"}


@pytest.mark.parametrize("status", [301, 308, 400, 401, 404])
async def test_other_answers_are_not_retried_and_redirects_not_followed(
    session: aiohttp.ClientSession, inbox: Inbox, status: int
) -> None:
    inbox.status = lambda number, event: status
    async with running_civitai(speed=200) as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:succeeded"])])
        await upstream.wait_quiet()
        assert outcomes(upstream) == ["refused"]
    assert len(inbox.events) == 1


async def test_every_4xx_is_retried_when_asked_to(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    inbox.status = lambda number, event: 400 if number < 2 else 200
    async with running_civitai(speed=200, callback_retry_4xx=True) as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:succeeded"])])
        await upstream.wait_quiet()
        assert outcomes(upstream) == ["retrying", "retrying", "delivered"]


async def test_a_receiver_that_is_not_there_is_retried(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=200) as upstream:
        callback = {"url": "http://127.0.0.1:9/hook?token=tok", "type": ["workflow:succeeded"]}
        await Caller(session, upstream).submit(echo(), callbacks=[callback])
        await upstream.wait_quiet()
        lines = upstream.log()["callbacks"]
        assert [line["outcome"] for line in lines] == ["retrying"] * 3 + ["exhausted"]
        assert {line["url"] for line in lines} == {"http://127.0.0.1:9/hook"}
        assert lines[0]["error"]


async def test_a_receiver_that_does_not_answer_in_time_is_retried(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    inbox.pause = 0.6
    async with running_civitai(speed=200, callback_floor=0.2) as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:succeeded"])])
        await until(lambda: len(outcomes(upstream)) == 1)
        assert "no answer within 0.2 s" in upstream.log()["callbacks"][0]["error"]


async def test_retries_back_off_exponentially(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    times: list[float] = []

    def note(number: int, event: dict[str, Any]) -> int:
        times.append(time.monotonic())
        return 500

    inbox.status = note
    async with running_civitai(speed=20) as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:succeeded"])])
        await upstream.wait_quiet()
    first, second, third = (after - before for before, after in pairwise(times))
    assert first >= 0.05
    assert second >= 0.10
    assert third >= 0.20


async def test_several_callbacks_of_a_workflow_get_what_each_asked_for(
    session: aiohttp.ClientSession, inbox: Inbox
) -> None:
    async with running_civitai(speed=200) as upstream:
        plain = inbox.callback(["workflow:succeeded"], token="plain")
        detailed = inbox.callback(["workflow:*"], detailed=True, token="detailed")
        await Caller(session, upstream).submit(echo(), callbacks=[plain, detailed])
        await upstream.wait_quiet()
    got = list(zip(inbox.queries, inbox.events, strict=True))
    assert [e["status"] for q, e in got if q == "token=plain"] == ["succeeded"]
    assert all("details" in event for query, event in got if query == "token=detailed")
    assert all("details" not in event for query, event in got if query == "token=plain")


async def test_the_type_of_job_events_can_be_missing(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=200, job_type="missing") as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["job:*"])])
        await upstream.wait_quiet()
    assert inbox.events
    assert all("$type" not in event and event["jobId"] for event in inbox.events)


async def test_a_job_failure_is_told_before_its_workflows_end(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=200) as upstream:
        script = {"end": "failed", "reason": "blocked", "blockedReason": "No."}
        await Caller(session, upstream).submit(image(**script), callbacks=[inbox.callback()])
        await upstream.wait_quiet()
    failure = next(e for e in inbox.events if e.get("reason") == "blocked")
    assert failure["blockedReason"] == "No."
    assert inbox.events.index(failure) < len(inbox.events) - 1
    assert (inbox.events[-1]["$type"], inbox.events[-1]["status"]) == ("workflow", "failed")


async def test_processing_repeats_with_progress(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500) as upstream:
        steps = [{"$type": "videoGen", "input": {}} for _ in range(6)]
        await Caller(session, upstream).submit(*steps, callbacks=[inbox.callback(["job:processing"])])
        await upstream.wait_quiet()
    rates = [e["progress"] for e in inbox.events if e["progress"] is not None]
    assert rates
    assert all(0 < rate < 1 for rate in rates)


async def test_a_cancel_is_told(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        workflow_id = (await api.submit(image(hold=True), callbacks=[inbox.callback()])).json["id"]
        await api.call("PUT", f"{WORKFLOWS}/{workflow_id}", body={"status": "canceled"})
        await upstream.wait_quiet()
    assert [(e["$type"], e["status"]) for e in inbox.events[-3:]] == [
        ("job", "canceled"),
        ("step", "canceled"),
        ("workflow", "canceled"),
    ]


async def test_hundreds_of_workflows_at_once_are_each_told_once(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=20, callback_floor=30) as upstream:  # what is answered late must not be sent again
        api = Caller(session, upstream)
        callback = inbox.callback(["workflow:succeeded"])
        for _ in range(8):
            await asyncio.gather(*(api.submit(echo(), callbacks=[callback]) for _ in range(50)))
        await upstream.wait_quiet(60)
        assert upstream.truth()["settled"]
    assert len({e["workflowId"] for e in inbox.events}) == len(inbox.events) == 400
