"""Everything that can be made to go wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from sandbox_client import WORKFLOWS, Caller, Inbox, echo, image, until

from receiver.sandbox.civitai import RunningCivitai, running_civitai
from receiver.sandbox.faults import BadKnob

ENDS = ["workflow:succeeded", "workflow:failed", "workflow:expired", "workflow:canceled"]
ENDED = ("succeeded", "failed", "expired", "canceled")


async def run(upstream: RunningCivitai, session: aiohttp.ClientSession, inbox: Inbox, number: int, types: Any) -> None:
    """Submit `number` short workflows and wait until all is quiet."""
    api = Caller(session, upstream)
    await asyncio.gather(*(api.submit(image(), callbacks=[inbox.callback(types)]) for _ in range(number)))
    await upstream.wait_quiet()


def lines(upstream: RunningCivitai, **wanted: Any) -> list[dict[str, Any]]:
    """The callback log lines with these values."""
    return [x for x in upstream.log()["callbacks"] if all(x[key] == value for key, value in wanted.items())]


async def test_dropped_callbacks_never_arrive(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, drop=0.5) as upstream:
        await run(upstream, session, inbox, 40, ENDS)
        dropped = lines(upstream, outcome="dropped")
    assert 8 <= len(dropped) <= 32
    assert len(inbox.events) == 40 - len(dropped)


async def test_a_count_of_drops_is_used_up(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, drop=3) as upstream:
        await run(upstream, session, inbox, 10, ENDS)
    assert len(inbox.events) == 7


async def test_doubled_callbacks_arrive_twice_byte_for_byte(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, duplicate=1.0) as upstream:
        await run(upstream, session, inbox, 10, ENDS)
        assert len(lines(upstream, copy=True)) == 10
    assert len(inbox.events) == 20
    assert all(inbox.events.count(event) == 2 for event in inbox.events)


async def test_a_reordered_callback_arrives_after_its_successor(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, reorder=1) as upstream:
        await run(upstream, session, inbox, 1, ["workflow:*"])
        assert len(lines(upstream, reordered=True)) == 1
    told = [event["timestamp"] for event in inbox.events]
    assert told != sorted(told)
    assert told[0] > told[1]
    assert told[1:] == [min(told), *sorted(told)[2:]]


async def test_a_reordered_last_callback_arrives_all_the_same(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, reorder=1) as upstream:
        await run(upstream, session, inbox, 1, ENDS)
    assert len(inbox.events) == 1


async def test_a_delayed_callback_holds_up_those_behind_it(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, delay=1, delay_seconds=150) as upstream:
        await Caller(session, upstream).submit(echo(), callbacks=[inbox.callback(["workflow:*"])])
        await until(lambda: upstream.truth()["settled"])
        assert inbox.events == []
        await upstream.wait_quiet()
    assert inbox.events[-1]["status"] == "succeeded"


async def test_forged_callbacks_come_with_a_wrong_or_missing_token(
    session: aiohttp.ClientSession, inbox: Inbox
) -> None:
    async with running_civitai(speed=500, forge=1.0) as upstream:
        await run(upstream, session, inbox, 12, ["workflow:processing"])
        forged = [x for x in upstream.log()["callbacks"] if x["forged"]]
    assert {x["forged"] for x in forged} == {"wrong-token", "missing-token"}
    got = {q for q, e in zip(inbox.queries, inbox.events, strict=True) if e["status"] != "processing"}
    assert got == {"token=forged", ""}
    ids = {w["id"] for w in upstream.truth()["workflows"]}
    assert {e["workflowId"] in ids for e in inbox.events} == {True, False}


async def test_a_forged_ending_with_the_right_token_is_not_true(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, forge_ending=1.0) as upstream:
        await run(upstream, session, inbox, 5, [*ENDS, "workflow:processing"])
        truth = {w["id"]: w["status"] for w in upstream.truth()["workflows"]}
        assert len(lines(upstream, forged="ending")) == 5
    assert set(inbox.queries) == {"token=tok"}
    lies = [e for e in inbox.events if e["status"] in ENDED and e["status"] != truth[e["workflowId"]]]
    assert len(lies) == 5


async def test_a_failed_step_has_a_failed_job_for_each_provider(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, fail=1.0) as upstream:
        api = Caller(session, upstream)
        bodies = await asyncio.gather(*(api.finished(image()) for _ in range(40)))
    jobs = [job for body in bodies for job in body["steps"][0]["jobs"]]
    assert {body["status"] for body in bodies} == {"failed"}
    assert {"no_provider_available", "blocked", "timeout", None} < {j.get("reason") for j in jobs}
    assert all(j["blockedReason"] for j in jobs if j.get("reason") == "blocked")


async def test_reasons_are_left_out_of_getworkflow_when_asked_to(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, reason_in_get=False) as upstream:
        body = await Caller(session, upstream).finished(image(end="failed", reason="blocked", failing=1))
        assert all("reason" not in job and "blockedReason" not in job for job in body["steps"][0]["jobs"])
        assert upstream.truth()["workflows"][0]["steps"][0]["jobs"][1]["reason"] == "blocked"


async def test_a_failed_job_is_followed_by_another_that_succeeds(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        body = await Caller(session, upstream).finished(image(failing=2, racing=0))
        assert body["status"] == "succeeded"
        assert [j["status"] for j in body["steps"][0]["jobs"]] == ["failed", "failed", "succeeded"]


async def test_the_losers_of_a_race_are_canceled(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        body = await Caller(session, upstream).finished(image(failing=0, racing=2))
        assert [j["status"] for j in body["steps"][0]["jobs"]] == ["succeeded", "canceled", "canceled"]


async def test_what_depends_on_a_failed_step_is_canceled(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        last = {"$type": "echo", "name": "last", "input": {"message": {"$ref": "first", "path": "output.message"}}}
        end = {"$type": "echo", "name": "end", "input": {"message": {"$ref": "last", "path": "output.message"}}}
        api = Caller(session, upstream)
        failed = await api.finished(echo("first", end="failed"), last, end, echo("aside"))
        assert [s["status"] for s in failed["steps"]] == ["failed", "canceled", "canceled", "succeeded"]
        assert failed["status"] == "failed"
        assert failed["steps"][1]["jobs"] == []
        good = await api.finished(echo("first"), last)
        first, second = good["steps"]
        assert first["completedAt"] <= second["startedAt"]


async def test_steps_that_run_out_of_time_expire(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500, expire=1) as upstream:
        api = Caller(session, upstream)
        assert (await api.finished(image()))["status"] == "expired"
        late = {**image(seconds=100), "timeout": "00:00:10"}
        body = await api.finished(late)
        assert (body["status"], body["steps"][0]["status"], body["steps"][0]["timeout"]) == (
            "expired",
            "expired",
            "00:00:10",
        )
        assert "expired" in [job["status"] for job in body["steps"][0]["jobs"]]


async def test_an_operator_cancels_some_workflows(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=50, cancel=1.0) as upstream:
        api = Caller(session, upstream)
        await api.submit(image(hold=True), callbacks=[inbox.callback(ENDS)])
        await upstream.wait_quiet()
    assert [e["status"] for e in inbox.events] == ["canceled"]


async def test_an_undocumented_status_word_passes_by(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, unknown_status=1.0) as upstream:
        await run(upstream, session, inbox, 5, ["workflow:*"])
        assert {w["status"] for w in upstream.truth()["workflows"]} == {"succeeded"}
    assert {e["status"] for e in inbox.events} & {"pending", "moderating", "paused"}


@pytest.mark.parametrize(
    ("knobs", "statuses", "start"),
    [
        ({"html_errors": 1.0}, {502, 524}, b"<!DOCTYPE html>"),
        ({"status_429": 1.0, "retry_after": 7}, {429}, b"{"),
        ({"status_5xx": 1.0}, {500, 503}, b"{"),
    ],
)
async def test_reads_fail_as_told(
    session: aiohttp.ClientSession, knobs: dict[str, Any], statuses: set[int], start: bytes
) -> None:
    async with running_civitai(**knobs) as upstream:
        api = Caller(session, upstream)
        answers = [await api.get(f"{WORKFLOWS}/x") for _ in range(12)]
        answers.append(await api.call("POST", "/v2/consumer/blobs/x/refresh"))
        assert {a.status for a in answers} == statuses
        assert all(a.body.startswith(start) for a in answers)
        if statuses == {429}:
            assert {a.headers["retry-after"] for a in answers} == {"7"}
        assert (await api.submit()).status == 202


async def test_submits_are_rate_limited_as_told(session: aiohttp.ClientSession) -> None:
    async with running_civitai(submit_429=1) as upstream:
        api = Caller(session, upstream)
        first = await api.submit()
        assert (first.status, "retry-after" in first.headers) == (429, False)
        assert (await api.submit()).status == 202


async def test_an_outage_stops_answers_and_callbacks_and_ends(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        upstream.set_faults(outage="0.2:0.6")
        workflow = (await api.submit(echo(hold=True), callbacks=[inbox.callback(ENDS)])).json["id"]
        await asyncio.sleep(0.3)
        assert (await api.get(f"{WORKFLOWS}/{workflow}")).status == 503
        upstream.sandbox.world.cancel(upstream.sandbox.world.workflows[workflow], upstream.sandbox.clock.now())
        await asyncio.sleep(0.1)
        assert inbox.events == []
        await upstream.wait_quiet()
        assert len(inbox.events) == 1
        assert (await api.get(f"{WORKFLOWS}/{workflow}")).status == 200


async def test_the_same_seed_gives_the_same_fates(session: aiohttp.ClientSession) -> None:
    async def fates(seed: int) -> list[Any]:
        async with running_civitai(speed=5000, seed=seed, fail=0.3, expire=0.2) as upstream:
            api = Caller(session, upstream)
            for _ in range(8):
                await api.finished(image())
            shown = upstream.truth()["workflows"]
            return [(w["status"], [j["id"] for s in w["steps"] for j in s["jobs"]]) for w in shown]

    first, again, other = await fates(1), await fates(1), await fates(2)
    assert first == again != other
    assert len({status for status, _ in first}) > 1


async def test_the_same_seed_loses_the_same_callbacks_whatever_other_workflows_do_meanwhile(
    session: aiohttp.ClientSession, inbox: Inbox
) -> None:
    async def lost(seed: int, *, together: bool) -> list[tuple[str, ...]]:
        async with running_civitai(speed=500, seed=seed, drop=0.3) as upstream:
            api = Caller(session, upstream)
            for _ in range(4):
                await (api.submit if together else api.finished)(image(), callbacks=[inbox.callback()])
            await upstream.wait_quiet()
            numbers = {w["id"]: str(n) for n, w in enumerate(upstream.truth()["workflows"])}
            told = [line["event"] for line in upstream.log()["callbacks"] if line["outcome"] == "dropped"]
            return sorted((numbers[e["workflow"]], e["level"], e["job"] or "", e["status"]) for e in told)

    alone, mixed, other = await lost(1, together=False), await lost(1, together=True), await lost(2, together=True)
    assert len(alone) > 4
    assert alone == mixed != other


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"drop": 1.5}, "drop cannot be 1.5: it takes a share"),
        ({"drop": "lots"}, "drop cannot be 'lots': it takes a share"),
        ({"drop": True}, "drop cannot be True"),
        ({"duplicate": -1}, "duplicate cannot be -1"),
        ({"speed": 0}, "speed cannot be 0: it takes a factor above 0"),
        ({"url_ttl": float("nan")}, "url_ttl cannot be nan: it takes a number of seconds"),
        ({"outage": "10"}, "outage cannot be '10': it takes START:DURATION"),
        ({"on_exhaustion": "panic"}, "it takes one of drop, stop"),
        ({"revoked": "yes"}, "revoked cannot be 'yes': it takes true or false"),
        ({"dorp": 0.1}, "dorp is no knob; there are"),
    ],
)
async def test_a_wrong_knob_is_refused_with_what_would_be_right(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(BadKnob, match=words.replace("(", r"\(")):
        async with running_civitai(**knobs):
            pass
