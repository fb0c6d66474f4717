"""What OpenAI sends and answers: the event of UPSTREAMS §5.3, objects with the fields of PyPI `openai` 3.52.0."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
API = "https://api.openai.com/v1"

EVENT: dict[str, Any] = {
    "id": "evt_abc123",
    "object": "event",
    "created_at": 1758941485,
    "type": "response.completed",
    "data": {"id": "resp_abc123"},
}

RESPONSE: dict[str, Any] = {
    "id": "resp_abc123",
    "object": "response",
    "created_at": 1758941400,
    "completed_at": 1758941485,
    "status": "completed",
    "background": True,
    "error": None,
    "incomplete_details": None,
    "model": "gpt-5",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "hello"}]}],
    "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
    "metadata": {"order": "17"},
}

BATCH: dict[str, Any] = {
    "id": "batch_abc123",
    "object": "batch",
    "endpoint": "/v1/responses",
    "input_file_id": "file-in",
    "output_file_id": "file-out",
    "error_file_id": "file-err",
    "completion_window": "24h",
    "status": "completed",
    "created_at": 1758900000,
    "in_progress_at": 1758900060,
    "completed_at": 1758941485,
    "request_counts": {"total": 10, "completed": 9, "failed": 1},
}

VIDEO: dict[str, Any] = {
    "id": "video_abc123",
    "object": "video",
    "model": "sora-2",
    "status": "completed",
    "progress": 100,
    "created_at": 1758941400,
    "completed_at": 1758941485,
    "expires_at": 1758945085,
    "seconds": "8",
    "size": "1280x720",
    "error": None,
}


def account(trust: Trust = Trust.SIGNED, **fields: Any) -> Account:
    """A source at OpenAI."""
    secrets = (SECRET,) if trust is Trust.SIGNED else ()
    return Account("openai", API, trust, **{"api_key": "api-secret", "signing_secrets": secrets, **fields})
