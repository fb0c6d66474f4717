"""What Replicate and OpenAI share: a bearer key, and callbacks signed as Standard Webhooks says (UPSTREAMS §5.0)."""

from __future__ import annotations

from datetime import datetime

from starlette.requests import Request

from receiver.sandbox.signatures import standard_webhooks
from receiver.sandbox.tasks_faults import StandardFaults
from receiver.sandbox.tasks_sandbox import Message, TaskSandbox


class StandardSandbox(TaskSandbox):
    """Signed always; the id of a message is the same for every try, its timestamp is the try's."""

    faults: StandardFaults

    def let_in(self, request: Request) -> bool:
        """Bearer."""
        return self.is_bearer(request)

    @property
    def signs(self) -> bool:
        """Always."""
        return True

    def seal(self, message: Message, at: datetime, *, forged: bool = False) -> dict[str, str]:
        """The three headers."""
        secret = "forged" if forged else self.faults.signing_secret
        return standard_webhooks(secret, message.delivery, at, message.body)
