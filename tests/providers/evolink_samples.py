"""What EvoLink sends and answers (UPSTREAMS §3.7)."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

SUBMITTED: dict[str, Any] = {
    "created": 1757169743,
    "id": "task-unified-1757169743-8dxnm6yz",
    "model": "gpt-image-2",
    "object": "image.generation.task",
    "progress": 0,
    "status": "pending",
    "task_info": {"can_cancel": True, "estimated_time": 45},
    "type": "image",
    "usage": {"billing_rule": "per_call", "credits_reserved": 1.6, "user_group": "default"},
}

COMPLETED: dict[str, Any] = {
    "created": 1757169743,
    "id": "task-unified-1757169743-8dxnm6yz",
    "model": "gpt-image-2",
    "object": "image.generation.task",
    "progress": 100,
    "results": ["https://files.evolink.ai/t/0.png"],
    "status": "completed",
    "task_info": {"can_cancel": False},
    "type": "image",
    "usage": {"billing_rule": "per_call", "credits_reserved": 1.6, "credits_used": 1.6, "user_group": "default"},
}

FAILED: dict[str, Any] = {
    "created": 1772618027,
    "id": "task-unified-1772618027-cmeisy8h",
    "model": "happyhorse",
    "object": "video.generation.task",
    "progress": 0,
    "status": "failed",
    "error": {
        "code": "content_policy_violation",
        "message": "Content policy violation. Details: photorealistic people detected. …",
    },
    "task_info": {"can_cancel": False, "video_duration": 5},
    "type": "video",
    "usage": {"billing_rule": "per_second", "credits_reserved": 20, "user_group": "default"},
}

LISTED: dict[str, Any] = {
    "id": "task-unified-1757169743-8dxnm6yz",
    "model": "gpt-image-2",
    "status": "completed",
    "progress": 100,
    "has_results": True,
    "has_error": False,
    "created_at": 1757169743,
    "credits_used": 1.6,
}

REQUEST: dict[str, Any] = {
    "model": "gpt-image-2",
    "prompt": "a fox",
    "callback_url": "https://hooks.example.com/hooks/evolink?token=hook-secret",
}

ERROR: dict[str, Any] = {
    "error": {
        "code": "invalid_task_id",
        "message": "the id must start with 'task-unified-'",
        "type": "invalid_request_error",
        "param": "task_id",
    }
}


def account(trust: Trust = Trust.TOKEN, tokens: tuple[str, ...] = ("hook-secret",)) -> Account:
    """A source at EvoLink."""
    return Account("evolink", "https://api.evolink.ai/", trust, api_key="api-secret", hook_tokens=tokens)
