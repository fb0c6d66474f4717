"""The sandbox's own surface and its command."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from click.testing import CliRunner
from sandbox_client import WORKFLOWS, Caller, Inbox, commanded, echo, image, strangers_of

from receiver.sandbox.civitai import running_civitai
from receiver.sandbox.command import sandbox
from receiver.sandbox.faults import BadKnob


async def test_truth_tells_everything_as_getworkflow_would(session: aiohttp.ClientSession) -> None:
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        body = await api.finished(image(failing=1), externalId="mine")
        truth = (await api.get("/_sandbox/truth", key=False)).json
        assert (truth["settled"], len(truth["workflows"])) == (True, 1)
        shown = truth["workflows"][0]
        assert (shown["id"], shown["external_id"], shown["status"]) == (body["id"], "mine", "succeeded")
        assert (shown["started_at"], shown["ended_at"]) == (body["startedAt"], body["completedAt"])
        step, told = shown["steps"][0], body["steps"][0]
        assert [j["id"] for j in step["jobs"]] == [j["id"] for j in told["jobs"]]
        assert [j["status"] for j in step["jobs"]] == [j["status"] for j in told["jobs"]]
        assert [b["id"] for b in shown["blobs"]] == [b["id"] for b in told["output"]["images"]]


async def test_the_log_has_every_request_and_no_secret(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai(speed=500, api_key="hidden-key") as upstream:
        api = Caller(session, upstream)
        body = await api.finished(image(nsfwLevel="pg"), callbacks=[inbox.callback(token="hidden-token")])
        await api.call("GET", body["steps"][0]["output"]["images"][0]["url"], key=False)
        await api.get(f"{WORKFLOWS}/none")
        await upstream.wait_quiet()
        log = (await api.get("/_sandbox/log")).json
        faults = (await api.get("/_sandbox/faults")).body.decode()
    assert [(x["method"], x["status"]) for x in log["requests"]] == [("POST", 200), ("GET", 200), ("GET", 404)]
    assert len(log["callbacks"]) == len(inbox.events)
    text = json.dumps(log) + faults
    assert "hidden" not in text
    assert "sig=" not in text


async def test_quiet_means_ended_and_told(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    inbox.pause = 0.3
    async with running_civitai(speed=500) as upstream:
        api = Caller(session, upstream)
        assert (await api.get("/_sandbox/quiet")).json == {"quiet": True, "open": 0, "pending_callbacks": 0}
        await api.submit(echo(hold=True))
        assert (await api.get("/_sandbox/quiet")).json == {"quiet": False, "open": 1, "pending_callbacks": 0}
        await api.call("DELETE", f"{WORKFLOWS}/{upstream.truth()['workflows'][0]['id']}")
        await api.finished(echo(), callbacks=[inbox.callback(["workflow:succeeded"])])
        assert (await api.get("/_sandbox/quiet")).json == {"quiet": False, "open": 0, "pending_callbacks": 1}
        await upstream.wait_quiet()


async def test_faults_change_at_run_time_all_or_none(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        answer = await api.call("POST", "/_sandbox/faults", body={"drop": 0.25, "fail": 3, "outage": "60:5"})
        assert answer.status == 200
        shown = (await api.get("/_sandbox/faults")).json
        assert (shown["drop"], shown["fail"], shown["outage"]) == (0.25, 3, "60:5")
        wrong = await api.call("POST", "/_sandbox/faults", body={"drop": 0.5, "fail": 2.5})
        assert (wrong.status, "fail cannot be 2.5" in wrong.json["error"]) == (400, True)
        assert (await api.get("/_sandbox/faults")).json["drop"] == 0.25
        assert (await api.call("POST", "/_sandbox/faults", body=[1])).status == 400


async def test_time_can_be_moved_forward(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        workflow_id = (await api.submit(image(seconds=600))).json["id"]
        before = upstream.truth()["workflows"][0]["created_at"]
        assert (await api.call("POST", "/_sandbox/advance", body={"seconds": 3600})).json["open"] == 0
        body = (await api.get(f"{WORKFLOWS}/{workflow_id}")).json
        took = datetime.fromisoformat(body["completedAt"]) - datetime.fromisoformat(before)
        assert timedelta(seconds=300) < took < timedelta(seconds=700)
        assert (await api.call("POST", "/_sandbox/advance", body={"seconds": -1})).status == 400


async def test_a_skewed_clock_shows_in_the_date_header_and_in_every_time(session: aiohttp.ClientSession) -> None:
    async with running_civitai(clock_skew=-600) as upstream:
        answer = await Caller(session, upstream).submit()
        for seen in (parsedate_to_datetime(answer.headers["date"]), datetime.fromisoformat(answer.json["createdAt"])):
            assert abs(datetime.now(UTC) - timedelta(seconds=600) - seen) < timedelta(seconds=5)


async def test_what_is_held_can_be_finished_by_hand(session: aiohttp.ClientSession, inbox: Inbox) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        after = {"$type": "echo", "input": {"message": {"$ref": "$0"}}}
        steps = (image(hold=True, nsfwLevel="pg"), after)
        one, two = [(await api.submit(*steps, callbacks=[inbox.callback(["workflow:*"])])).json["id"] for _ in "ab"]
        upstream.finish(one)
        wanted = {"workflow": two, "status": "failed", "reason": "timeout"}
        assert (await api.call("POST", "/_sandbox/finish", body=wanted)).json["open"] == 0
        assert (await api.call("POST", "/_sandbox/finish", body={"workflow": one, "status": "done"})).status == 400
        await upstream.wait_quiet()
        good, bad = (await api.get(f"{WORKFLOWS}/{one}")).json, (await api.get(f"{WORKFLOWS}/{two}")).json
    assert [s["status"] for s in good["steps"]] == ["succeeded", "succeeded"]
    assert good["steps"][0]["output"]["images"][0]["url"]
    assert [s["status"] for s in bad["steps"]] == ["failed", "canceled"]
    assert {e["workflowId"]: e["status"] for e in inbox.events} == {one: "succeeded", two: "failed"}


async def test_what_is_fixed_at_the_start_cannot_be_changed_later() -> None:
    async with running_civitai(seed=4) as upstream:
        with pytest.raises(BadKnob, match="seed can be set at the start only"):
            upstream.set_faults(seed=5)


async def test_latency_delays_reads(session: aiohttp.ClientSession) -> None:
    async with running_civitai(latency=0.3) as upstream:
        began = asyncio.get_running_loop().time()
        await Caller(session, upstream).get(f"{WORKFLOWS}/x")
        assert asyncio.get_running_loop().time() - began >= 0.3


async def test_a_purged_workflow_is_404_and_still_in_the_truth(session: aiohttp.ClientSession) -> None:
    async with running_civitai() as upstream:
        api = Caller(session, upstream)
        workflow_id = (await api.submit()).json["id"]
        await api.call("POST", "/_sandbox/purge", body={"workflow": workflow_id})
        assert (await api.get(f"{WORKFLOWS}/{workflow_id}")).status == 404
        assert upstream.truth()["workflows"][0]["visible"] is False
        assert (await api.call("POST", "/_sandbox/purge", body={"workflow": "x"})).status == 400


def test_the_sandbox_loads_nothing_of_what_it_is_there_to_test() -> None:
    assert strangers_of("receiver.sandbox.command", "receiver.sandbox.civitai") == "[]"


async def test_a_submit_with_hostile_content_is_answered(session: aiohttp.ClientSession) -> None:
    bodies = ["", "[]", "nul\0", "[" * 100_000, '{"steps":[7]}', '{"steps":[{"$type":["x"],"input":{}}]}']
    bodies += ['{"steps":NaN}', '{"steps":[{"$type":"echo","input":{"message":1e400}}]}']
    odd = r'{"steps":[{"$type":"echo","input":{"message":"\ud800 \u0000"}}],"metadata":{"\udfff":1}}'
    async with running_civitai() as upstream:
        url, headers = upstream.base_url + WORKFLOWS, {"Authorization": "Bearer sandbox-key"}
        for body in bodies:
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 400, body[:40]
        async with session.post(url, data=odd, headers=headers) as answer:
            assert answer.status == 202
        async with session.get(url, params={"take": "9" * 5000}, headers=headers) as answer:
            assert answer.status == 400
        async with session.get(url, headers=headers) as answer:
            assert len((await answer.json())["items"]) == 1


async def test_the_command_prints_one_line_that_works_and_leaves_on_sigterm(session: aiohttp.ClientSession) -> None:
    async with commanded("civitai", "--speed", "100", "--drop", "10%") as line:
        match = re.search(r"-d '(.+)' (http://\S+)\n", line)
        assert match is not None, line
        async with session.post(
            match[2], data=match[1], params={"wait": "5"}, headers={"Authorization": "Bearer sandbox-key"}
        ) as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "succeeded")
        async with session.get(match[2].removesuffix(WORKFLOWS) + "/_sandbox/faults") as answer:
            assert (await answer.json())["drop"] == 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--drop", "lots"], "--drop cannot be 'lots': it takes a share"),
        (["--url-ttl", "-1"], "--url-ttl cannot be '-1': it takes a number of seconds"),
        (["--speed", "0"], "--speed cannot be '0': it takes a factor above 0"),
        (["--host", "999.1.1.1"], "cannot listen on 999.1.1.1 port"),
    ],
)
def test_a_wrong_option_is_one_clear_line_and_exit_2(options: list[str], words: str) -> None:
    result = CliRunner().invoke(sandbox, ["civitai", "--port", "0", *options])
    assert result.exit_code == 2
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_port_in_use_is_one_clear_line_and_exit_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(sandbox, ["civitai", "--port", port])
    assert result.exit_code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in result.output
