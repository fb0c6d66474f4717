"""What Kie.ai delivers and answers (docs.kie.ai/market/common/get-task-detail, UPSTREAMS §5.8), values made up."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

API = "https://api.kie.ai"
ID = "ee603959-debb-48d1-98c4-a6d1c717eba6"
PICTURE = "https://example.com/generated-content.jpg"

# The vector of UPSTREAMS §5.8.
SECRET = "kie-hmac-key"
STAMP = 1755500000
SIGNATURE = "zsiPwKB1viklyXZiMtUihOJLW2kADvRc15ZK/N6aHVw="

SUCCESS: dict[str, Any] = {
    "code": 200,
    "msg": "success",
    "data": {
        "taskId": ID,
        "model": "grok-imagine/text-to-image",
        "state": "success",
        "param": '{"callBackUrl":"https://us.example/?token=hook-secret","input":{"image":"https://us.example/in.png"}}',
        "resultJson": '{"resultUrls":["https://example.com/generated-content.jpg"]}',
        "failCode": "",
        "failMsg": "",
        "costTime": 15000,
        "completeTime": 1755499999000,
        "createTime": 1755499980000,
        "updateTime": 1755499999000,
    },
}
FAIL: dict[str, Any] = {
    "code": 501,
    "msg": "failed",
    "data": {"taskId": ID, "state": "fail", "resultJson": "", "failCode": "500", "failMsg": "Internal error"},
}
VEO: dict[str, Any] = {
    "code": 200,
    "msg": "Veo3.1 video generated successfully.",
    "data": {"task_id": ID, "successFlag": 1, "response": {"taskId": ID, "resultUrls": ["https://example.com/v.mp4"]}},
}


def account(trust: Trust = Trust.TOKEN, **fields: Any) -> Account:
    """A source at Kie.ai."""
    return Account("kie", API, trust, **{"api_key": "api-secret", "hook_tokens": ("new-token", "old-token"), **fields})
