"""What Kling delivers and answers (UPSTREAMS §5.6), values made up."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

API = "https://api-singapore.klingai.com"
ID = "831922345719271433"
VIDEO = "https://cdn.klingai.com/bs2/video.mp4"
IMAGE = "https://cdn.klingai.com/bs2/image"

SUCCEED: dict[str, Any] = {
    "task_id": ID,
    "task_status": "succeed",
    "task_status_msg": "",
    "created_at": 1785578400123,
    "updated_at": 1785578520456,
    "final_unit_deduction": "2",
    "task_info": {"external_task_id": "order-17", "parent_video": {"id": "v0", "url": f"{VIDEO}?parent"}},
    "task_result": {"videos": [{"id": "v1", "url": VIDEO, "duration": "5.1"}]},
}
FAILED: dict[str, Any] = {
    "task_id": ID,
    "task_status": "failed",
    "task_status_msg": "Failure to pass the risk control system",
    "created_at": 1785578400123,
    "updated_at": 1785578520456,
}
IMAGES: dict[str, Any] = {
    **SUCCEED,
    "task_info": {},
    "task_result": {"images": [{"index": 0, "url": IMAGE}, {"index": 1, "url": f"{IMAGE}.png"}]},
}
SUBMITTED: dict[str, Any] = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "req-1",
    "data": {
        "task_id": ID,
        "task_status": "submitted",
        "task_info": {"external_task_id": "order-17"},
        "created_at": 1785578400123,
        "updated_at": 1785578400123,
    },
}
ANSWER: dict[str, Any] = {"code": 0, "message": "SUCCEED", "request_id": "req-2", "data": SUCCEED}


def account(trust: Trust = Trust.TOKEN, **fields: Any) -> Account:
    """A source at Kling."""
    given = {
        "api_key": "api-secret",
        "hook_tokens": ("new-token", "old-token"),
        "options": {"path": "videos/text2video"},
    }
    return Account("kling", API, trust, **{**given, **fields})
