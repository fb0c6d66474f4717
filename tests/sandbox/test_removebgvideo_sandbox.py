"""The RemoveBGVideo stand-in against UPSTREAMS §4, over real sockets."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import aiohttp
import pytest
from sandbox_client import until
from task_client import Box, Client, lines

from receiver.sandbox.removebgvideo import running_removebgvideo
from receiver.sandbox.running import Running
from receiver.sandbox.signatures import timestamped

JOBS = "/v1/jobs"


def client(session: aiohttp.ClientSession, upstream: Running[Any]) -> Client:
    return Client(session, upstream, {"X-Api-Key": upstream.api_key})


def wanted(**more: Any) -> dict[str, Any]:
    return {"video_url": "https://x.test/a.mp4", "model": "pro", "bg_type": "transparent", **more}


def events(box: Box) -> list[str]:
    return [delivery.headers["x-webhook-event"] for delivery in box.got]


async def test_a_job_is_told_twice_with_the_event_in_a_header(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_removebgvideo(speed=500) as upstream:
        api = client(session, upstream)
        made = (await api.post(JOBS, wanted(webhook_url=box.hook))).json
        await upstream.wait_quiet()
        job = (await api.get(f"{JOBS}/{made['id']}")).json
    assert set(made) == {"success", "id", "status", "message"}
    assert events(box) == ["job.started", "job.completed"]
    assert len({d.headers["x-webhook-delivery-id"] for d in box.got}) == 2
    assert all("x-webhook-timestamp" in d.headers for d in box.got)
    assert not any("x-webhook-signature" in d.headers for d in box.got)
    assert box.got[1].json["event"] == "job.completed"
    assert box.got[1].json["data"]["id"] == made["id"]
    assert job["webhook_events"] == {"job.started": "sent", "job.completed": "sent"}
    assert (job["status"], job["progress"], job["error"], job["billing_status"]) == ("completed", 100, None, "charged")


def test_the_signature_is_that_of_the_documents_vector() -> None:
    body = b'{"id":"ufawqhfynnddngldkgtslldrkq","status":"succeeded"}'
    assert timestamped("gen-fixture-secret", "2026-04-20T10:00:00Z", body) == (
        "sha256=0d9600b7b877d0f615f9db7e77c35e6fc0a38758c7e971ffebad7cf898c1930b"
    )


async def test_with_a_secret_every_callback_is_signed_over_timestamp_and_body(
    session: aiohttp.ClientSession, box: Box
) -> None:
    async with running_removebgvideo(speed=500, signing_secret="hush", forge=1.0) as upstream:
        api = client(session, upstream)
        for _ in range(15):
            await api.post(JOBS, wanted(webhook_url=box.hook))
        await upstream.wait_quiet()
        assert "hush" not in (await api.get("/_sandbox/faults")).body.decode()
        kinds = {line["forged"] for line in lines(upstream)} - {None}
    good = 0
    for delivery in box.got:
        signed = delivery.headers.get("x-webhook-timestamp", "").encode() + b"." + delivery.body
        right = "sha256=" + hmac.new(b"hush", signed, hashlib.sha256).hexdigest()
        if delivery.headers.get("x-webhook-signature") == right and delivery.query == "token=tok":
            good += 1
    stale = len([line for line in lines(upstream) if line["forged"] == "stale-signature"])
    assert good == 30 + stale  # an old replay is signed: only its time tells
    assert kinds == {
        *("wrong-signature", "no-signature", "stale-signature", "other-body"),
        *("wrong-token", "missing-token"),
    }


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("flat", lambda job: {"id": job, "status": "processing", "output_url": None}),
        ("id", lambda job: {"id": job}),
        ("job_id", lambda job: {"job_id": job, "status": "processing"}),
    ],
)
async def test_the_body_takes_any_plausible_shape(
    session: aiohttp.ClientSession, box: Box, shape: str, body: Any
) -> None:
    async with running_removebgvideo(speed=500, body=shape) as upstream:
        api = client(session, upstream)
        job = (await api.post(JOBS, wanted(webhook_url=box.hook, sandbox={"hold": True}))).json["id"]
        await until(lambda: len(box.got) == 1)
        assert box.got[0].json == body(job)
        upstream.set_faults(body="empty")
        upstream.finish(job, "failed")
        await upstream.wait_quiet()
        assert box.got[1].body == b""
        assert events(box) == ["job.started", "job.failed"]


async def test_a_draft_waits_for_its_start(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_removebgvideo(speed=500) as upstream:
        api = client(session, upstream)
        draft = (await api.post(JOBS, wanted(auto_start=False))).json
        assert draft["status"] == "created"
        assert (await api.get(f"{JOBS}/{draft['id']}")).json["status"] == "created"
        shown = upstream.truth()["workflows"][0]
        assert (shown["canonical"], shown["settled"], upstream.quiet()) == ("unassigned", False, True)
        started = await api.post(f"{JOBS}/{draft['id']}/start", {"webhook_url": box.hook, "output_format": "mov"})
        assert (started.json["success"], started.json["id"]) == (True, draft["id"])
        await upstream.wait_quiet()
        assert events(box) == ["job.started", "job.completed"]
        assert (await api.get(f"/api/download/{draft['id']}", key=False)).json["output_format"] == "mov"
        assert (await api.post(f"{JOBS}/{draft['id']}/start")).status == 400


async def test_a_failed_job_starts_again_under_its_id(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_removebgvideo(speed=500) as upstream:
        api = client(session, upstream)
        job = (await api.post(JOBS, wanted(webhook_url=box.hook, sandbox={"end": "failed"}))).json["id"]
        await upstream.wait_quiet()
        failed = (await api.get(f"{JOBS}/{job}")).json
        assert (failed["status"], isinstance(failed["error"], str)) == ("failed", True)
        await api.post(f"{JOBS}/{job}/start")
        await upstream.wait_quiet()
        again = (await api.get(f"{JOBS}/{job}")).json
        assert (again["status"], again["error"]) == ("completed", None)
        shown = upstream.truth()["workflows"][0]
        assert (shown["run"], shown["canonical"]) == (2, "succeeded")
        assert [past["canonical"] for past in shown["past_runs"]] == ["failed"]
    assert events(box) == ["job.started", "job.failed", "job.started", "job.completed"]


@pytest.mark.parametrize("envelope", ["bare", "jobs", "data", "items"])
async def test_the_list_comes_in_any_envelope(session: aiohttp.ClientSession, envelope: str) -> None:
    async with running_removebgvideo(speed=500, listing=envelope) as upstream:
        api = client(session, upstream)
        made = [(await api.post(JOBS, wanted())).json["id"] for _ in range(3)]
        answer = (await api.get(f"{JOBS}?limit=2&offset=1")).json
        jobs = answer if envelope == "bare" else answer[envelope]
        assert [job["id"] for job in jobs] == made[:2][::-1]


async def test_errors_have_a_request_id_and_plain_ones_any_shape(session: aiohttp.ClientSession) -> None:
    async with running_removebgvideo(credits=0) as upstream:
        api = client(session, upstream)
        poor = await api.post(JOBS, wanted())
        assert (poor.status, poor.json["error"]["code"]) == (402, "insufficient_credits")
        assert poor.json["error"]["request_id"].startswith("req_")
        assert (await api.get(JOBS, key=False)).json["error"]["code"] == "missing_api_key"
        assert (await api.get(JOBS, headers={"X-Api-Key": "no"})).json["error"]["code"] == "invalid_api_key"
        assert (await api.post(JOBS, wanted(model="best"))).json["error"]["code"] == "invalid_request"
        assert (await api.get(f"{JOBS}/job_x")).json == {"message": "Job not found"}
        upstream.set_faults(plain_errors="text", bad_gateway=1)
        lost = await api.post(JOBS, wanted())
        assert (lost.status, lost.body) == (502, b"502 Bad Gateway")
        none = await api.get("/api/download/job_x", key=False)
        assert (none.status, none.body) == (404, b"Job not found")


async def test_a_download_of_an_open_job_is_a_400_and_output_urls_end(session: aiohttp.ClientSession) -> None:
    async with running_removebgvideo(speed=500, url_ttl=60) as upstream:
        api = client(session, upstream)
        job = (await api.post(JOBS, wanted(sandbox={"hold": True}))).json["id"]
        early = await api.get(f"/api/download/{job}", key=False)
        assert (early.status, early.json) == (400, {"message": "Job not completed"})
        upstream.finish(job)
        url = (await api.get(f"{JOBS}/{job}")).json["output_url"]
        assert (await api.get(url, key=False)).headers["content-type"] == "video/webm"
        upstream.advance(61)
        assert (await api.get(url, key=False)).status == 403
        fresh = (await api.get(f"/api/download/{job}", key=False)).json["download_url"]
        assert (await api.get(fresh, key=False)).status == 200


async def test_what_needs_no_key_needs_none(session: aiohttp.ClientSession) -> None:
    async with running_removebgvideo() as upstream:
        api = client(session, upstream)
        assert (await api.get("/health", key=False)).status == 200
        prices = (await api.get("/api/pricing", key=False)).json["model_pricing_credits_per_minute"]
        assert prices == {"original": 60, "light": 45, "pro": 180, "human": 45}
        assert (await api.get("/v1/usage/summary?days=7")).json["days"] == 7


async def test_an_upload_gives_a_video_to_submit(session: aiohttp.ClientSession) -> None:
    async with running_removebgvideo() as upstream:
        form = aiohttp.FormData()
        form.add_field("file", b"bytes", filename="a.mp4", content_type="video/mp4")
        url, headers = upstream.base_url + "/v1/uploads", {"X-Api-Key": upstream.api_key}
        async with session.post(url, data=form, headers=headers) as answer:
            shown = await answer.json()
        assert (shown["success"], shown["filename"]) == (True, "a.mp4")
        assert shown["video_url"].endswith("/a.mp4")


async def test_copies_keep_their_delivery_id_and_late_ones_come_late(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_removebgvideo(speed=500, duplicate=1.0, delay=1, delay_seconds=100) as upstream:
        api = client(session, upstream)
        for _ in range(4):
            await api.post(JOBS, wanted(webhook_url=box.hook))
        await upstream.wait_quiet()
    assert len(box.got) == 16
    assert len({d.headers["x-webhook-delivery-id"] for d in box.got}) == 8
