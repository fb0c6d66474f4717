"""What Luma delivers and answers (UPSTREAMS §5.5, the Generation of PyPI `lumaai`), values made up."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

API = "https://api.lumalabs.ai/dream-machine/v1"
ID = "d1968551-6113-4b46-b567-09210c2e79b0"
VIDEO = "https://storage.cdn-luma.com/dream_machine/video.mp4"

COMPLETED: dict[str, Any] = {
    "id": ID,
    "generation_type": "video",
    "state": "completed",
    "failure_reason": None,
    "created_at": "2026-08-01T10:00:00.123Z",
    "assets": {"video": VIDEO, "image": "https://storage.cdn-luma.com/dream_machine/thumb.jpg", "progress_video": None},
    "model": "ray-2",
    "request": {
        "generation_type": "video",
        "model": "ray-2",
        "prompt": "a fox",
        "loop": None,
        "callback_url": "https://hooks.example.com/hooks/luma?token=hook-secret",
    },
}
DREAMING: dict[str, Any] = {**COMPLETED, "state": "dreaming", "assets": None}
FAILED: dict[str, Any] = {
    **COMPLETED,
    "state": "failed",
    "assets": None,
    "failure_reason": "400: Input blocked by moderation",
}
QUEUED: dict[str, Any] = {**COMPLETED, "state": "queued", "assets": None}


def account(trust: Trust = Trust.TOKEN, **fields: Any) -> Account:
    """A source at Luma."""
    given = {"api_key": "api-secret", "hook_tokens": ("new-token", "old-token")}
    return Account("luma", API, trust, **{**given, **fields})
