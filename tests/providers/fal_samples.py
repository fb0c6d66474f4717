"""What fal sends and answers (UPSTREAMS §5.2, fal.ai/docs: queue, webhooks, errors, request-errors)."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

API = "https://queue.fal.run"
ID = "123e4567-e89b-12d3-a456-426614174000"
LINK = f"{API}/fal-ai/flux/requests/{ID}"
LINKS = {"response_url": LINK, "status_url": f"{LINK}/status", "cancel_url": f"{LINK}/cancel"}
PICTURE = "https://v3.fal.media/files/rabbit/example"

# The vector of UPSTREAMS: signed with RFC 8032's first test key.
VECTOR = (
    b'{"request_id":"123e4567-e89b-12d3-a456-426614174000",'
    b'"gateway_request_id":"123e4567-e89b-12d3-a456-426614174000","status":"OK","payload":{}}'
)
VECTOR_HEADERS = {
    "x-fal-webhook-request-id": ID,
    "x-fal-webhook-user-id": "user_1",
    "x-fal-webhook-timestamp": "1758000000",
    "x-fal-webhook-signature": (
        "65f5637dd12be8dffc23a4c62afa3cbfd5e71de77444da72a47dde52260e9fcd"
        "176c96164407a30c28dad766eeec3379cfd08621ef5f495c1d3deb29f2aac406"
    ),
}
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}

OUTPUT: dict[str, Any] = {
    "images": [{"url": PICTURE, "width": 1024, "height": 768, "content_type": "image/jpeg"}],
    "timings": {"inference": 2.507},
    "seed": 15860307465884635512,
    "prompt": "a cat",
}
DETAIL = [{"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}]

OK_EVENT: dict[str, Any] = {"request_id": ID, "gateway_request_id": "gw-2", "status": "OK", "payload": OUTPUT}
ERROR_EVENT: dict[str, Any] = {
    "request_id": ID,
    "gateway_request_id": ID,
    "status": "ERROR",
    "error": "Invalid status code: 422",
    "payload": {"detail": DETAIL},
}
UNWRITTEN_EVENT: dict[str, Any] = {
    "request_id": ID,
    "gateway_request_id": ID,
    "status": "OK",
    "payload": None,
    "payload_error": "Response payload is not JSON serializable.",
}

SUBMITTED: dict[str, Any] = {
    "request_id": ID,
    "gateway_request_id": ID,
    **LINKS,
    "status": "IN_QUEUE",
    "queue_position": 3,
}
IN_PROGRESS: dict[str, Any] = {"status": "IN_PROGRESS", "request_id": ID, **LINKS, "logs": None}
COMPLETED: dict[str, Any] = {
    "status": "COMPLETED",
    "request_id": ID,
    **LINKS,
    "logs": None,
    "metrics": {"inference_time": 9.276242017745972},
}


def account(trust: Trust = Trust.SIGNED, **fields: Any) -> Account:
    """A source at fal."""
    return Account("fal", API, trust, **{"api_key": "api-secret", "options": {"model": "fal-ai/flux/dev"}, **fields})
