"""The stand-ins for fal, Replicate and OpenAI against UPSTREAMS §5.0 to §5.3: their signatures checked from outside."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sandbox_client import until
from task_client import Box, Client, Delivery, lines

from receiver.sandbox.fal import running_fal
from receiver.sandbox.openai import running_openai
from receiver.sandbox.replicate import running_replicate
from receiver.sandbox.running import Running
from receiver.sandbox.signatures import Ed25519Key, standard_webhooks

MODEL = "/fal-ai/flux/dev"
VECTOR = b'{"id":"ufawqhfynnddngldkgtslldrkq","status":"succeeded"}'


def fal(session: aiohttp.ClientSession, upstream: Running[Any]) -> Client:
    return Client(session, upstream, {"Authorization": f"Key {upstream.api_key}"})


def bearer(session: aiohttp.ClientSession, upstream: Running[Any]) -> Client:
    return Client(session, upstream, {"Authorization": f"Bearer {upstream.api_key}"})


def is_fresh(seconds: str) -> bool:
    return abs(datetime.now(UTC) - datetime.fromtimestamp(int(seconds), UTC)) < timedelta(minutes=5)


def is_fals(delivery: Delivery, keys: list[dict[str, str]]) -> bool:
    """§5.2, word for word."""
    given = {name.removeprefix("x-fal-webhook-"): value for name, value in delivery.headers.items()}
    if "signature" not in given or not is_fresh(given["timestamp"]):
        return False
    digest = hashlib.sha256(delivery.body).hexdigest()
    message = f"{given['request-id']}\n{given['user-id']}\n{given['timestamp']}\n{digest}".encode()
    for key in keys:
        assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
        raw = base64.urlsafe_b64decode(key["x"] + "=")
        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(bytes.fromhex(given["signature"]), message)
        except InvalidSignature:
            continue
        return True
    return False


def is_standard(delivery: Delivery, secret: str) -> bool:
    """§5.0, word for word."""
    headers = delivery.headers
    if "webhook-signature" not in headers or not is_fresh(headers["webhook-timestamp"]):
        return False
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + delivery.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def test_standard_webhooks_are_signed_as_the_vector_says() -> None:
    at = datetime.fromtimestamp(1674087231, UTC)
    headers = standard_webhooks("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", at, VECTOR)
    assert headers["webhook-signature"] == "v1,e+TrmOLzLNQpzQUM+/HbiRBMrGyU26h8LbPdZWRYWkY="


def test_fal_callbacks_are_signed_as_the_vector_says() -> None:
    key = Ed25519Key(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))  # RFC 8032
    request_id = "123e4567-e89b-12d3-a456-426614174000"
    body = f'{{"request_id":"{request_id}","gateway_request_id":"{request_id}","status":"OK","payload":{{}}}}'.encode()
    headers = key.fal(request_id, "user_1", datetime.fromtimestamp(1758000000, UTC), body)
    assert key.jwk()["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert headers["X-Fal-Webhook-Signature"] == (
        "65f5637dd12be8dffc23a4c62afa3cbfd5e71de77444da72a47dde52260e9fcd"
        "176c96164407a30c28dad766eeec3379cfd08621ef5f495c1d3deb29f2aac406"
    )


async def test_fal_callbacks_verify_with_its_key_set_and_lies_do_not(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_fal(speed=500, forge=1.0, forge_ending=1.0) as upstream:
        api = fal(session, upstream)
        for _ in range(12):
            await api.post(f"{MODEL}?fal_webhook={box.url}", {"prompt": "x"})
        await upstream.wait_quiet()
        keys = (await api.get("/.well-known/jwks.json", key=False)).json["keys"]
        kinds = {line["forged"] for line in lines(upstream)}
    assert kinds == {None, "ending", "wrong-signature", "no-signature", "stale-signature", "other-body"}
    assert len(keys) == 1
    good = [delivery.json for delivery in box.got if is_fals(delivery, keys)]
    assert len(good) == 12
    assert {body["status"] for body in good} == {"OK"}
    assert len(box.got) == 36


async def test_fal_keys_rotate_and_the_set_can_be_down(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_fal(speed=500) as upstream:
        api = fal(session, upstream)
        before = (await api.get("/.well-known/jwks.json", key=False)).json["keys"]
        upstream.set_faults(signing_key=2)
        await api.post(f"{MODEL}?fal_webhook={box.url}", {})
        await upstream.wait_quiet()
        after = (await api.get("/.well-known/jwks.json", key=False)).json["keys"]
        assert (is_fals(box.got[0], before), is_fals(box.got[0], after)) == (False, True)
        assert after[0] == before[0]
        upstream.set_faults(jwks_down=True)
        assert (await api.get("/.well-known/jwks.json", key=False)).status == 503


async def test_fals_completed_hides_a_422_that_the_result_shows(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_fal(speed=500) as upstream:
        api = fal(session, upstream)
        script = {"end": "failed", "code": "422"}
        ticket = (await api.post(f"{MODEL}?fal_webhook={box.url}", {"sandbox": script})).json
        assert (ticket["status"], ticket["response_url"].endswith(f"/fal-ai/flux/requests/{ticket['request_id']}")) == (
            "IN_QUEUE",
            True,
        )
        await upstream.wait_quiet()
        assert (await api.get(ticket["status_url"])).json["status"] == "COMPLETED"
        result = await api.get(ticket["response_url"])
        assert (result.status, result.json["detail"][0]["msg"]) == (422, "field required")
        body = box.got[0].json
        assert (body["status"], body["error"]) == ("ERROR", "Invalid status code: 422")
        assert body["payload"] == result.json
        shown = upstream.truth()["workflows"][0]
        assert (shown["status"], shown["canonical"]) == ("COMPLETED", "failed")


async def test_a_good_fal_result_has_files_and_an_open_one_none_yet(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_fal(speed=500) as upstream:
        api = fal(session, upstream)
        ticket = (await api.post(f"/fal-ai/video?fal_webhook={box.url}", {"sandbox": {"hold": True}})).json
        assert (await api.get(ticket["response_url"])).status == 400
        upstream.finish(ticket["request_id"])
        result = (await api.get(ticket["response_url"])).json
        assert (await api.get(result["video"]["url"], key=False)).headers["content-type"] == "video/mp4"
        assert (await api.get(ticket["response_url"].replace("video", "flux"))).status == 404
        other = (await api.post(MODEL, {"sandbox": {"hold": True}})).json
        assert (await api.call("PUT", other["cancel_url"])).status == 202
        assert upstream.truth()["workflows"][1]["canonical"] == "canceled"
        assert (await api.get(ticket["status_url"], key=False)).status == 401
        upstream.set_faults(payload_errors=1.0)
        await api.post(f"{MODEL}?fal_webhook={box.url}", {})
        await upstream.wait_quiet()
    assert (box.got[-1].json["payload"], bool(box.got[-1].json["payload_error"])) == (None, True)


async def test_replicate_signs_whole_predictions_in_the_order_asked_for(
    session: aiohttp.ClientSession, box: Box
) -> None:
    async with running_replicate(speed=500, forge=1.0, kept=10**6) as upstream:
        api = bearer(session, upstream)
        body = {"version": "v", "input": {"prompt": "x"}, "webhook": box.hook, "webhook_events_filter": ["completed"]}
        made = await api.post("/v1/predictions", body)
        for _ in range(9):
            await api.post("/v1/models/o/n/predictions", body)
        await upstream.wait_quiet()
        secret = (await api.get("/v1/webhooks/default/secret")).json["key"]
        seen = await api.get(f"/v1/predictions/{made.json['id']}")
    assert (made.status, made.json["status"]) == (201, "starting")
    good = [delivery for delivery in box.got if is_standard(delivery, secret) and delivery.query == "token=tok"]
    assert len(good) == 10
    assert {delivery.json["status"] for delivery in good} == {"succeeded"}
    assert seen.body in [delivery.body for delivery in good]


async def test_replicate_tries_only_the_last_callback_again_with_the_same_id(
    session: aiohttp.ClientSession, box: Box
) -> None:
    box.status = lambda number: 500
    async with running_replicate(speed=500) as upstream:
        await bearer(session, upstream).post("/v1/predictions", {"input": {}, "webhook": box.hook})
        await upstream.wait_quiet()
        tries = lines(upstream)
    assert {line["event"]["event"] for line in tries} == {"start", "logs", "completed"}
    assert {line["attempt"] for line in tries if line["event"]["event"] != "completed"} == {1}
    assert max(line["attempt"] for line in tries) > 2
    last = [delivery for delivery in box.got if delivery.json["status"] == "succeeded"]
    assert len(last) > 2
    assert len({delivery.headers["webhook-id"] for delivery in last}) == 1


async def test_replicates_data_is_removed_after_its_hour(session: aiohttp.ClientSession) -> None:
    async with running_replicate(speed=100, kept=3600) as upstream:
        api = bearer(session, upstream)
        made = (await api.post("/v1/predictions", {"input": {"num_outputs": 2}})).json["id"]
        await upstream.wait_quiet()
        full = (await api.get(f"/v1/predictions/{made}")).json
        assert (len(full["output"]), full["data_removed"]) == (2, False)
        assert (await api.get(full["output"][0], key=False)).status == 200
        upstream.advance(36.1)
        bare = (await api.get(f"/v1/predictions/{made}")).json
        assert (bare["output"], bare["data_removed"], bare["input"], bare["status"]) == (None, True, {}, "succeeded")
        assert (await api.get(full["output"][0], key=False)).status == 404
        assert {blob["available"] for blob in upstream.truth()["workflows"][0]["blobs"]} == {False}
        assert [task["id"] for task in (await api.get("/v1/predictions")).json["results"]] == [made]


async def test_openai_tells_the_project_a_thin_signed_event(session: aiohttp.ClientSession, box: Box) -> None:
    async with running_openai(speed=500, webhook_url=box.hook) as upstream:
        api = bearer(session, upstream)
        made = (await api.post("/v1/responses", {"model": "m", "input": "x", "background": True})).json
        await api.post("/v1/responses", {"model": "m", "input": "x"})
        await upstream.wait_quiet()
        assert (await api.get(f"/v1/responses/{made['id']}")).json["status"] == "completed"
        assert "tok" not in (await api.get("/_sandbox/faults")).body.decode()
        secret = upstream.sandbox.faults.signing_secret
    assert made["status"] == "queued"
    (event,) = box.got
    assert is_standard(event, secret)
    assert set(event.json) == {"id", "object", "created_at", "type", "data"}
    assert (event.json["type"], event.json["data"]) == ("response.completed", {"id": made["id"]})
    assert event.headers["webhook-id"].startswith("wh_")
    assert event.headers["user-agent"].startswith("OpenAI/1.0")
    assert not is_standard(dataclasses.replace(event, body=event.body + b" "), secret)


@pytest.mark.parametrize(
    ("knobs", "word", "canonical"),
    [
        ({"incomplete": 1.0}, "incomplete", "failed"),
        ({"fail": 1.0}, "failed", "failed"),
        ({"cancel": 1.0}, "cancelled", "canceled"),
    ],
)
async def test_openai_ends_in_its_own_words(
    session: aiohttp.ClientSession, box: Box, knobs: dict[str, Any], word: str, canonical: str
) -> None:
    async with running_openai(speed=500, webhook_url=box.hook, **knobs) as upstream:
        api = bearer(session, upstream)
        made = (await api.post("/v1/responses", {"model": "m", "input": "x", "background": True})).json["id"]
        await until(lambda: len(box.got) == 1)
        seen = (await api.get(f"/v1/responses/{made}")).json
        shown = upstream.truth()["workflows"][0]
    assert box.got[0].json["type"] == f"response.{word}"
    assert (seen["status"], shown["status"], shown["canonical"]) == (word, word, canonical)
