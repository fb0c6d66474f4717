"""What RemoveBGVideo sends and answers (UPSTREAMS §4.8). The body of its deliveries is assumed."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

FILE = "https://cdn.removebgvideo.com/o/job_123.webm"
DELIVERY = "7d1f5c0e-6a0c-4d7c-9f7e-0d6a8a1b2c3d"

HEADERS = {
    "content-type": "application/json",
    "x-webhook-event": "job.completed",
    "x-webhook-delivery-id": DELIVERY,
    "x-webhook-timestamp": "2026-04-20T10:00:00Z",
}

ASSUMED_EVENT: dict[str, Any] = {
    "event": "job.completed",
    "data": {"id": "job_123", "status": "completed", "output_url": FILE},
}

JOB: dict[str, Any] = {
    "id": "job_123",
    "status": "completed",
    "progress": 100,
    "output_url": FILE,
    "error": None,
    "created_at": "2026-04-20T10:00:00Z",
    "duration_seconds": 12.3,
    "billing_status": "charged",
    "webhook_url": "https://hooks.example.com/hooks/removebgvideo?token=hook-secret",
    "webhook_events": {"job.started": "sent", "job.completed": "sent"},
}

STARTED: dict[str, Any] = {"success": True, "id": "job_123", "status": "processing", "message": "Job started"}

REQUEST: dict[str, Any] = {
    "video_url": "https://media.example.com/in.mp4",
    "model": "pro",
    "bg_type": "transparent",
    "background": {"type": "transparent"},
    "output_format": "webm",
    "webhook_url": "https://hooks.example.com/hooks/removebgvideo?token=hook-secret",
    "auto_start": False,
    "metadata": {"order": "17"},
}

ERROR: dict[str, Any] = {
    "error": {
        "code": "insufficient_credits",
        "message": "Not enough credits to process this video",
        "request_id": "req_123456",
    }
}

# The documented vector (UPSTREAMS §4.4).
VECTOR_SECRET = "gen-fixture-secret"
VECTOR_BODY = b'{"id":"ufawqhfynnddngldkgtslldrkq","status":"succeeded"}'
VECTOR_HEADERS = {
    "x-webhook-timestamp": "2026-04-20T10:00:00Z",
    "x-webhook-signature": "sha256=0d9600b7b877d0f615f9db7e77c35e6fc0a38758c7e971ffebad7cf898c1930b",
}


def account(
    trust: Trust = Trust.TOKEN, tokens: tuple[str, ...] = ("hook-secret",), secrets: tuple[str, ...] = ()
) -> Account:
    """A source at RemoveBGVideo."""
    return Account(
        "removebgvideo",
        "https://api.removebgvideo.com/",
        trust,
        api_key="api-secret",
        hook_tokens=tokens,
        signing_secrets=secrets,
    )
