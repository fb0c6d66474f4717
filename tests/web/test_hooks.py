"""Every row of the answer table (DESIGN §8.1) over a real socket."""

from __future__ import annotations

from tests.web.client import ask, event
from tests.web.conftest import Running


async def test_a_believed_delivery_is_applied_and_answered_with_its_name(receiver: Running) -> None:
    answer = await ask("POST", receiver.hook(), event("wf-1", "processing"))
    assert answer.status == 200
    assert answer.json["outcome"] == "applied"
    assert answer.json["delivery"]
