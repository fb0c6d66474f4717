"""What Civitai sends and answers, as its documentation shows it; names, prompts and signatures are made up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account, Inbound, Response

NOW = datetime(2026, 1, 21, 22, 30, tzinfo=UTC)

IMAGE_URL = (
    "https://orchestration.civitai.com/v2/consumer/blobs/QG0CWJ9MB8Y8P7FXNPDV34RY10.jpeg"
    "?sig=abc&exp=2026-01-21T22:31:41.000Z"
)
JOB_ID = "8c3c2f0a-0c0e-4a3a-9d3e-5a1c1f0a7b11"

DETAILED_WORKFLOW_EVENT = b"""
{ "$type":"workflow","workflowId":"0-20251029212923125","status":"succeeded","timestamp":"2025-10-29T21:29:24.7599308Z",
  "details":{ "metadata":{},"arguments":{"mediaUrl":"https://image.civitai.com/x/107357814.jpeg"},
    "createdAt":"2025-10-29T21:29:23.1252764Z","completedAt":"2025-10-29T21:29:24.7599305Z",
    "startedAt":"2025-10-29T21:29:23.1577181Z",
    "steps":[
      {"name":"tag","status":"succeeded","startedAt":"2025-10-29T21:29:23.1577168Z",
       "completedAt":"2025-10-29T21:29:24.7599253Z","metadata":{"imageId":1},
       "input":{"model":"wd14-vit.v1","mediaUrl":"https://image.civitai.com/x/107357814.jpeg","threshold":0.5},
       "output":{"tags":{"sword":0.9198364615440369},"rating":{"sensitive":0.812727689743042}}},
      {"name":"rating","status":"succeeded","startedAt":"2025-10-29T21:29:23.1578525Z",
       "completedAt":"2025-10-29T21:29:24.6798816Z","metadata":{"imageId":1},
       "input":{"mediaUrl":"https://image.civitai.com/x"},"output":{"nsfwLevel":"pg","isBlocked":false}} ] } }
"""

THIN_WORKFLOW_EVENT: dict[str, Any] = {
    "$type": "workflow",
    "workflowId": "wf_01HXYZ",
    "status": "processing",
    "timestamp": "2026-04-12T22:58:14Z",
}

IMAGE: dict[str, Any] = {
    "type": "image",
    "id": "QG0CWJ9MB8Y8P7FXNPDV34RY10.jpeg",
    "available": True,
    "url": IMAGE_URL,
    "urlExpiresAt": "2026-01-21T22:31:41Z",
    "jobId": JOB_ID,
    "nsfwLevel": "pg",
    "width": 1024,
    "height": 1024,
}

STEP_EVENT: dict[str, Any] = {
    "$type": "step",
    "workflowId": "8484131-20260121222126332",
    "name": "$0",
    "status": "succeeded",
    "details": {
        "retries": 0,
        "startedAt": "2026-01-21T22:21:27.1000000Z",
        "completedAt": "2026-01-21T22:21:41.5000000Z",
        "estimatedProgressRate": 1.0,
        "metadata": {},
        "input": {"engine": "flux", "prompt": "a fox"},
        "output": {"images": [IMAGE]},
    },
}

JOB_EVENT: dict[str, Any] = {
    "$type": "job",
    "workflowId": "0-20260731101112131",
    "stepName": "rating",
    "jobId": "5f0f6e1e-5f3e-4a7e-9a83-1d8a4f5d7c2b",
    "status": "failed",
    "progress": None,
    "reason": "Response status code does not indicate success: 500 (Internal Server Error)",
    "blockedReason": None,
    "matureContent": None,
}

SUBMIT_ANSWER: dict[str, Any] = {
    "id": "8484131-20260121222126332",
    "createdAt": "2026-01-21T22:21:26.3320000Z",
    "metadata": {},
    "status": "unassigned",
    "tags": [],
    "arguments": {},
    "steps": [
        {
            "$type": "videoGen",
            "name": "$0",
            "priority": "normal",
            "status": "unassigned",
            "metadata": {},
            "input": {"engine": "wan", "version": "v2.6"},
            "jobs": [
                {
                    "id": JOB_ID,
                    "status": "unassigned",
                    "cost": 4.0,
                    "queuePosition": {"support": "available", "precedingJobs": 12},
                }
            ],
        }
    ],
    "callbacks": [
        {"url": "https://hooks.example.com/hooks/civitai?token=hook-secret", "type": ["workflow:*"], "detailed": False}
    ],
    "tips": {"civitai": 0, "creators": 0},
    "cost": {"base": 120, "tips": {"civitai": 0, "creators": 0}, "total": 120},
    "transactions": {"list": [{"type": "debit", "amount": 120, "id": "tx", "accountType": "yellow"}]},
    "upgradeMode": "manual",
    "currencies": ["yellow"],
    "forceRefunded": False,
}

VALIDATION_PROBLEM: dict[str, Any] = {
    "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
    "title": "One or more validation errors occurred.",
    "status": 400,
    "errors": {"steps[0].input.resolution": ["The value '4k' is not valid for resolution."]},
}

GATEWAY_PAGE = b"<!DOCTYPE html><html><head><title>524: A timeout occurred</title></head><body>...</body></html>"


def encoded(document: Any) -> bytes:
    """A document as the bytes of a body."""
    return json.dumps(document).encode()


def account(trust: Trust = Trust.TOKEN, tokens: tuple[str, ...] = ("hook-secret",)) -> Account:
    """A source at Civitai."""
    return Account(
        source="civitai",
        base_url="https://orchestration.civitai.com/",
        trust=trust,
        api_key="api-secret",
        hook_tokens=tokens,
    )


def inbound(body: bytes, query: dict[str, str] | None = None) -> Inbound:
    """A delivery."""
    return Inbound(headers={"content-type": "application/json"}, query=query or {}, body=body, received_at=NOW)


def response(status: int, body: bytes, headers: dict[str, str] | None = None, date: datetime | None = None) -> Response:
    """An answer."""
    return Response(status=status, headers=headers or {}, body=body, sent_at=NOW, received_at=NOW, date=date)
