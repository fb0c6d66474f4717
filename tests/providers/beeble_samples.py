"""What Beeble sends and answers (UPSTREAMS §2.8), paths and signatures made up."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

CDN = "https://cdn.beeble.ai/a1/"

SUCCESS_EVENT: dict[str, Any] = {
    "id": "swx_abc123",
    "status": "completed",
    "output": {"render": f"{CDN}render.mp4", "source": f"{CDN}source.mp4", "alpha": f"{CDN}alpha.mp4"},
    "completed_at": "2026-02-23T10:05:00Z",
}

FAILURE_EVENT: dict[str, Any] = {
    "id": "swx_abc123",
    "status": "failed",
    "completed_at": "2026-02-23T10:05:00Z",
    "error": "Processing failed",
}

STATUS: dict[str, Any] = {
    "id": "swx_abc123",
    "status": "completed",
    "progress": 100,
    "generation_type": "video",
    "alpha_mode": "auto",
    "seed": 123456,
    "output": {"render": f"{CDN}render.mp4?sig=2", "source": f"{CDN}source.mp4?sig=2", "alpha": None},
    "error": None,
    "created_at": "2026-02-23T10:00:00Z",
    "modified_at": "2026-02-23T10:05:00Z",
    "completed_at": "2026-02-23T10:05:00Z",
    "webhook": {"status": "failed", "attempts": 5, "last_error": "HTTP 502 Bad Gateway"},
}

REQUEST: dict[str, Any] = {
    "generation_type": "video",
    "source_uri": "beeble://uploads/upload_1/in.mp4",
    "alpha_mode": "auto",
    "prompt": "golden hour",
    "max_resolution": 1080,
    "callback_url": "https://hooks.example.com/hooks/beeble?token=hook-secret",
    "idempotency_key": "order-17",
}

ERROR: dict[str, Any] = {
    "error": {"code": "INVALID_CALLBACK_URL", "message": "Callback URL is not valid HTTPS or is unreachable"}
}


def account(trust: Trust = Trust.TOKEN, tokens: tuple[str, ...] = ("hook-secret",)) -> Account:
    """A source at Beeble."""
    return Account("beeble", "https://api.beeble.ai/", trust, api_key="api-secret", hook_tokens=tokens)
