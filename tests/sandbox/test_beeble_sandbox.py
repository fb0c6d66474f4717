"""The Beeble stand-in against UPSTREAMS §2, over real sockets."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from task_client import Box, Client, gaps, lines

from receiver.sandbox.beeble import GENERATIONS, running_beeble
from receiver.sandbox.running import Running


def client(session: aiohttp.ClientSession, upstream: Running[Any]) -> Client:
    return Client(session, upstream, {"x-api-key": upstream.api_key})


def wanted(**more: Any) -> dict[str, Any]:
    body = {"generation_type": "image", "source_uri": "https://x.test/a.png", "alpha_mode": "auto", "prompt": "dusk"}
    return {**body, **more}


def free(**knobs: Any) -> Any:
    """Without the limits, where a test is about something else."""
    return running_beeble(**{"speed": 500, "reads_per_minute": 0, "writes_per_minute": 0, **knobs})


async def test_a_job_is_told_once_with_exactly_the_documented_keys(session: aiohttp.ClientSession, box: Box) -> None:
    async with free() as upstream:
        api = client(session, upstream)
        first = (await api.post(GENERATIONS, wanted(callback_url=box.hook))).json
        await api.post(GENERATIONS, wanted(callback_url=box.hook, sandbox={"end": "failed"}))
        await upstream.wait_quiet()
        seen = (await api.get(f"{GENERATIONS}/{first['id']}")).json
    assert (first["status"], first["output"], first["webhook"]["status"]) == ("in_queue", None, "pending")
    assert len(box.got) == 2
    bodies = {delivery.json["status"]: delivery.json for delivery in box.got}
    assert list(bodies["completed"]) == ["id", "status", "output", "completed_at"]
    assert list(bodies["completed"]["output"]) == ["render", "source", "alpha"]
    assert list(bodies["failed"]) == ["id", "status", "completed_at", "error"]
    assert isinstance(bodies["failed"]["error"], str)
    assert not [name for name in box.got[0].headers if "webhook" in name or "signature" in name]
    assert (seen["status"], seen["progress"], seen["error"]) == ("completed", 100, None)
    assert seen["webhook"] == {"status": "delivered", "attempts": 1, "last_error": None}


async def test_webhook_is_shown_only_where_a_callback_was_asked_for(session: aiohttp.ClientSession) -> None:
    async with free() as upstream:
        assert "webhook" not in (await client(session, upstream).post(GENERATIONS, wanted())).json


async def test_a_callback_is_tried_five_times_on_the_ladder_then_given_up(
    session: aiohttp.ClientSession, box: Box
) -> None:
    box.status = lambda number: 502
    async with free(speed=200) as upstream:
        api = client(session, upstream)
        job = (await api.post(GENERATIONS, wanted(callback_url=box.hook, sandbox={"seconds": 1}))).json["id"]
        await upstream.wait_quiet()
        tries = lines(upstream, lane=job)
        seen = (await api.get(f"{GENERATIONS}/{job}")).json
    assert [line["outcome"] for line in tries] == ["retrying"] * 4 + ["exhausted"]
    waited = gaps(tries, speed=200)
    assert all(pause <= gap < pause + 12 for pause, gap in zip((1, 5, 30, 120), waited, strict=True)), waited
    assert seen["webhook"] == {"status": "failed", "attempts": 5, "last_error": "HTTP 502 Bad Gateway"}
    assert seen["status"] == "completed"


async def test_the_sixth_read_in_a_minute_is_429_and_writes_are_counted_apart(session: aiohttp.ClientSession) -> None:
    async with running_beeble(speed=2) as upstream:
        api = client(session, upstream)
        answers = [await api.get(GENERATIONS) for _ in range(6)]
        assert [a.status for a in answers] == [200] * 5 + [429]
        assert answers[5].json["error"]["code"] == "RATE_LIMIT_EXCEEDED"
        assert "retry-after" not in answers[5].headers
        assert [(await api.post(GENERATIONS, wanted())).status for _ in range(6)] == [200] * 5 + [429]
        assert (await api.get("/v1/account/info")).status == 429
        upstream.advance(30)  # a minute, at twice the speed
        info = (await api.get("/v1/account/info")).json
        assert info["rate_limits"]["rpm"] == {"usage": 1, "limit": 5}


async def test_a_wrong_key_takes_nothing_of_the_budget(session: aiohttp.ClientSession) -> None:
    async with running_beeble() as upstream:
        api = client(session, upstream)
        for _ in range(7):
            assert (await api.get(GENERATIONS, key=False)).json["error"]["code"] == "INVALID_API_KEY"
        assert (await api.get(GENERATIONS)).status == 200
        upstream.set_faults(revoked=True)
        assert (await api.get(GENERATIONS)).status == 401


async def test_an_eleventh_open_job_is_refused_until_one_ends(session: aiohttp.ClientSession) -> None:
    async with free() as upstream:
        api = client(session, upstream)
        jobs = [(await api.post(GENERATIONS, wanted(sandbox={"hold": True}))).json["id"] for _ in range(10)]
        refused = await api.post(GENERATIONS, wanted())
        assert (refused.status, refused.json["error"]["code"]) == (429, "CONCURRENT_LIMIT_EXCEEDED")
        upstream.finish(jobs[0])
        assert (await api.post(GENERATIONS, wanted())).status == 200
        with pytest.raises(ValueError, match="one of succeeded, failed"):
            upstream.finish(jobs[1], "canceled")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"generation_type": "audio"}, "INVALID_GENERATION_TYPE"),
        ({"alpha_mode": "none"}, "INVALID_ALPHA_MODE"),
        ({"max_resolution": 4000}, "INVALID_MAX_RESOLUTION"),
        ({"prompt": None}, "MISSING_STYLE_INPUT"),
        ({"source_uri": None}, "MISSING_SOURCE"),
        ({"alpha_mode": "custom"}, "MISSING_ALPHA"),
        ({"source_uri": "ftp://x"}, "INVALID_URI"),
        ({"callback_url": "nonsense"}, "INVALID_CALLBACK_URL"),
    ],
)
async def test_what_is_wrong_in_a_request_has_its_code(
    session: aiohttp.ClientSession, change: dict[str, Any], code: str
) -> None:
    async with free() as upstream:
        answer = await client(session, upstream).post(GENERATIONS, wanted(**change))
        assert (answer.status, answer.json["error"]["code"]) == (400, code)
        assert upstream.truth()["workflows"] == []


async def test_every_code_of_the_tables_can_be_had(session: aiohttp.ClientSession) -> None:
    async with free() as upstream:
        api = client(session, upstream)
        for code, status in [("HARD_LIMIT_EXCEEDED", 402), ("JOB_QUEUE_FAILED", 500), ("CREDIT_DEDUCTION_FAILED", 402)]:
            answer = await api.post(GENERATIONS, wanted(sandbox={"refuse": code}))
            assert (answer.status, answer.json["error"]["code"]) == (status, code)
        answer = await api.post(GENERATIONS, wanted(sandbox={"refuse": "500:CREDIT_DEDUCTION_FAILED"}))
        assert (answer.status, answer.json["error"]["code"]) == (500, "CREDIT_DEDUCTION_FAILED")
        upstream.set_faults(credits=1, billing_code="INSUFFICIENT_CREDITS")
        assert [(await api.post(GENERATIONS, wanted())).status for _ in "ab"] == [200, 402]


async def test_plain_http_is_refused_as_the_real_one_does(session: aiohttp.ClientSession, box: Box) -> None:
    async with free(allow_http=False) as upstream:
        answer = await client(session, upstream).post(GENERATIONS, wanted(callback_url=box.hook))
        assert answer.json["error"]["code"] == "INVALID_CALLBACK_URL"


async def test_output_urls_are_signed_afresh_and_end(session: aiohttp.ClientSession) -> None:
    async with free(url_ttl=60) as upstream:
        api = client(session, upstream)
        job = (await api.post(GENERATIONS, wanted(generation_type="video"))).json["id"]
        await upstream.wait_quiet()
        old = (await api.get(f"{GENERATIONS}/{job}")).json["output"]["render"]
        there = await api.get(old, key=False)
        assert (there.status, there.headers["content-type"]) == (200, "video/mp4")
        assert f"{job}/render.mp4".encode() in there.body
        upstream.advance(61)
        assert (await api.get(old, key=False)).status == 403
        fresh = (await api.get(f"{GENERATIONS}/{job}")).json["output"]["render"]
        assert fresh != old
        assert (await api.get(fresh, key=False)).status == 200
        assert (await api.get(fresh.replace(job, "swx_other"), key=False)).status == 403


async def test_an_idempotency_key_gives_the_job_there_is(session: aiohttp.ClientSession) -> None:
    async with free(submit_500=1) as upstream:
        api = client(session, upstream)
        lost = await api.post(GENERATIONS, wanted(idempotency_key="k1"))
        again = await api.post(GENERATIONS, wanted(idempotency_key="k1"))
        assert (lost.status, again.status) == (500, 200)
        assert [w["id"] for w in upstream.truth()["workflows"]] == [again.json["id"]]
        assert upstream.truth()["workflows"][0]["external_id"] == "k1"


async def test_the_list_goes_through_all_jobs_once(session: aiohttp.ClientSession) -> None:
    async with free(concurrent_jobs=0) as upstream:
        api = client(session, upstream)
        made = [(await api.post(GENERATIONS, wanted())).json["id"] for _ in range(5)]
        seen, token = [], ""
        while token is not None:
            page = (await api.get(f"{GENERATIONS}?limit=2&page_token={token}")).json
            seen += [job["id"] for job in page["jobs"]]
            token = page["next_page_token"]
    assert seen == made[::-1]


async def test_uploads_lead_to_a_place_to_put_the_file(session: aiohttp.ClientSession) -> None:
    async with free() as upstream:
        api = client(session, upstream)
        answer = (await api.post("/v1/uploads", {"filename": "a.mp4"})).json
        assert answer["beeble_uri"] == f"beeble://uploads/{answer['id']}/a.mp4"
        assert (await api.call("PUT", answer["upload_url"], b"bytes", key=False)).status == 200
        wrong = await api.post("/v1/uploads", {"filename": "a.exe"})
        assert (wrong.status, wrong.json["error"]["code"]) == (400, "INVALID_FILENAME")


async def test_truth_has_both_words_and_unknown_jobs_are_404(session: aiohttp.ClientSession) -> None:
    async with free(fail=1.0) as upstream:
        api = client(session, upstream)
        job = (await api.post(GENERATIONS, wanted())).json["id"]
        await upstream.wait_quiet()
        await api.post(GENERATIONS, wanted(alpha_mode="fill", sandbox={"end": "succeeded"}))
        await upstream.wait_quiet()
        truth = upstream.truth()
        assert truth["settled"] is True
        failed, good = truth["workflows"]
        assert (failed["id"], failed["status"], failed["canonical"], failed["blobs"]) == (job, "failed", "failed", [])
        assert (good["status"], good["canonical"], good["steps"]) == ("completed", "succeeded", [])
        assert [blob["id"] for blob in good["blobs"]] == [f"{good['id']}~render", f"{good['id']}~source"]
        assert (await api.get(f"{GENERATIONS}/swx_none")).json["error"]["code"] == "JOB_NOT_FOUND"
        await api.post("/_sandbox/purge", {"workflow": job})
        assert (await api.get(f"{GENERATIONS}/{job}")).status == 404


async def test_forgers_have_no_token_unless_told_to(session: aiohttp.ClientSession, box: Box) -> None:
    async with free(forge=1.0, forge_ending=1.0, concurrent_jobs=0) as upstream:
        api = client(session, upstream)
        for _ in range(10):
            await api.post(GENERATIONS, wanted(callback_url=box.hook))
        await upstream.wait_quiet()
        truth = {w["id"]: w["status"] for w in upstream.truth()["workflows"]}
        kinds = {line["forged"] for line in lines(upstream)}
    assert kinds == {None, "wrong-token", "missing-token", "ending"}
    with_token = [d.json for d in box.got if d.query == "token=tok"]
    assert len(with_token) == 20
    lies = [body for body in with_token if truth[body["id"]] != body["status"]]
    assert len(lies) == 10
    assert {d.query for d in box.got} == {"token=tok", "token=forged", ""}
    outputs = [body["output"]["render"] for body in lies if body["status"] == "completed"]
    assert all(url.startswith("https://forged.example.invalid/") for url in outputs)


@pytest.mark.parametrize(
    ("knobs", "statuses", "start"),
    [
        ({"html_errors": 1.0}, {502, 524}, b"<!DOCTYPE html>"),
        ({"status_429": 1.0, "retry_after": 7}, {429}, b'{"error"'),
        ({"status_5xx": 1.0}, {500, 503}, b'{"error"'),
        ({"outage": "0:60"}, {503}, b"<!DOCTYPE html>"),
    ],
)
async def test_reads_fail_as_told(
    session: aiohttp.ClientSession, knobs: dict[str, Any], statuses: set[int], start: bytes
) -> None:
    async with free(**knobs) as upstream:
        answers = [await client(session, upstream).get(f"{GENERATIONS}/x") for _ in range(12)]
        assert {a.status for a in answers} == statuses
        assert all(a.body.startswith(start) for a in answers)
