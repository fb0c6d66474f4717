"""A made-up upstream, acme, that signs as Standard Webhooks says and is known from configuration alone."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
FILE = "https://cdn.acme.example/1.mp4?Expires=1786000000"

OPTIONS: dict[str, Any] = {
    "id": "data.job.id",
    "status": "type",
    "urls": ["data.job.files"],
    "error_code": "data.job.error.code",
    "error_message": "data.job.error.message",
    "status_url": "/v1/jobs/{id}?full=1",
    "statuses": {"job.queued": "scheduled", "job.done": "succeeded", "job.failed": "failed", "done": "succeeded"},
    "answer": {"id": "id", "status": "state", "urls": ["files"]},
}

DONE: dict[str, Any] = {
    "type": "job.done",
    "timestamp": "2026-08-01T10:00:00Z",
    "data": {"job": {"id": "job_1", "files": [{"kind": "main", "url": FILE}]}},
}

FAILED: dict[str, Any] = {
    "type": "job.failed",
    "timestamp": 1785578400,
    "data": {"job": {"id": "job_1", "error": {"code": 17, "message": "too dark"}}},
}

ANSWER: dict[str, Any] = {"id": "job_1", "state": "done", "files": [{"kind": "main", "url": FILE}]}


def account(trust: Trust = Trust.SIGNED, **fields: Any) -> Account:
    """A source at acme."""
    secrets = (SECRET,) if trust is Trust.SIGNED else ()
    given = {"api_key": "api-secret", "signing_secrets": secrets, "options": OPTIONS, **fields}
    return Account("acme", "https://api.acme.example", trust, **given)
