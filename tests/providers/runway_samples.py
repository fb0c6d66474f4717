"""What Runway answers (UPSTREAMS §5.7, PyPI `runwayml`: task_retrieve_response), values made up."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

API = "https://api.dev.runwayml.com/v1"
ID = "17f20503-6c24-4c16-946b-35dbbce2af2f"
VIDEO = "https://dnznrvs05pmza.cloudfront.net/out.mp4"

SUCCEEDED: dict[str, Any] = {
    "id": ID,
    "status": "SUCCEEDED",
    "createdAt": "2026-08-01T10:00:00.123Z",
    "cost": {"credits": 25},
    "output": [f"{VIDEO}?_jwt=abc"],
}
PENDING: dict[str, Any] = {"id": ID, "status": "PENDING", "createdAt": "2026-08-01T10:00:00.123Z"}
RUNNING: dict[str, Any] = {**PENDING, "status": "RUNNING", "progress": 0.4}
FAILED: dict[str, Any] = {
    **PENDING,
    "status": "FAILED",
    "cost": {"credits": 0},
    "failure": "The generation was moderated.",
    "failureCode": "SAFETY.OUTPUT.VIDEO",
}


def account(trust: Trust = Trust.NONE, **fields: Any) -> Account:
    """A source at Runway."""
    return Account("runway", API, trust, **{"api_key": "api-secret", **fields})
