"""What OpenRouter sends and answers for video generations (UPSTREAMS §5.8), values made up."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

API = "https://openrouter.ai/api/v1"
CONTENT = f"{API}/videos/vid_abc/content?index=0"

COMPLETED_EVENT: dict[str, Any] = {
    "type": "video.generation.completed",
    "created_at": "2026-08-01T10:02:00.000Z",
    "data": {
        "id": "vid_abc",
        "status": "completed",
        "generation_id": "gen-1",
        "model": "google/veo-3.1",
        "unsigned_urls": [CONTENT],
        "usage": {"cost": 0.5, "is_byok": False},
    },
}

EXPIRED_EVENT: dict[str, Any] = {
    "type": "video.generation.expired",
    "created_at": "2026-08-01T10:02:00.000Z",
    "data": {"id": "vid_abc", "status": "expired"},
}

ANSWER: dict[str, Any] = {
    "id": "vid_abc",
    "polling_url": "/api/v1/videos/vid_abc",
    "status": "completed",
    "generation_id": "gen-1",
    "unsigned_urls": [CONTENT],
    "usage": {"cost": 0.5, "is_byok": False},
}

SUBMITTED: dict[str, Any] = {"id": "vid_abc", "polling_url": "/api/v1/videos/vid_abc", "status": "pending"}


def account(trust: Trust = Trust.SIGNED, **fields: Any) -> Account:
    """A source at OpenRouter."""
    secrets = ("secret",) if trust is Trust.SIGNED else ()
    return Account("openrouter", API, trust, **{"api_key": "api-secret", "signing_secrets": secrets, **fields})
