"""What RunPod delivers and answers (UPSTREAMS §5.4), values made up."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

API = "https://api.runpod.ai/v2"
ID = "60902e6c-08a1-426e-9cb9-9eaec90f5e2b-u1"
PICTURE = "https://bucket.s3.amazonaws.com/out.png"

COMPLETED: dict[str, Any] = {
    "id": ID,
    "status": "COMPLETED",
    "delayTime": 31618,
    "executionTime": 1437,
    "output": {"image_url": PICTURE},
}
FAILED: dict[str, Any] = {"id": ID, "status": "FAILED", "delayTime": 100, "executionTime": 12, "error": "CUDA error"}
TIMED_OUT: dict[str, Any] = {
    "id": ID,
    "status": "TIMED_OUT",
    "input": {"prompt": "a fox"},
    "webhook": "https://hooks.example.com/hooks/runpod?token=hook-secret",
}
SUBMITTED: dict[str, Any] = {"id": ID, "status": "IN_QUEUE"}
REQUEST: dict[str, Any] = {
    "input": {"prompt": "a fox"},
    "webhook": "https://hooks.example.com/hooks/runpod?token=hook-secret",
    "policy": {"executionTimeout": 600000},
}


def account(trust: Trust = Trust.TOKEN, **fields: Any) -> Account:
    """A source at RunPod."""
    given = {"api_key": "api-secret", "hook_tokens": ("new-token", "old-token"), "options": {"endpoint": "ep1"}}
    return Account("runpod", API, trust, **{**given, **fields})
