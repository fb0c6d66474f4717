"""A stand-in for OpenAI's background responses (UPSTREAMS §5.3): one endpoint per project, thin signed events."""

from __future__ import annotations

import string
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.sandbox.tasks_app import opener, route
from receiver.sandbox.tasks_faults import OpenaiFaults
from receiver.sandbox.tasks_records import Task
from receiver.sandbox.tasks_sandbox import Message, Refused
from receiver.sandbox.tasks_standard import StandardSandbox
from receiver.sandbox.tasks_world import Habits
from receiver.sandbox.wire import answer, encode

RESPONSES = "/v1/responses"
AGENT = "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)"
WORDS = {
    "queued": "queued",
    "processing": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "cancelled",
}
INCOMPLETE = "incomplete"
FAILURES = (
    ("server_error", "The server had an error processing your request."),
    ("rate_limit_exceeded", "Rate limit reached."),
    ("invalid_prompt", "The prompt was flagged."),
)
TYPES = {
    400: ("invalid_request_error", "invalid_request", "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    404: ("invalid_request_error", None, "The response was not found."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", None, "The server had an error."),
    503: ("server_error", None, "The server is overloaded."),
}


class OpenaiSandbox(StandardSandbox):
    """Statuses, errors and events in OpenAI's words."""

    faults_type = OpenaiFaults
    words = WORDS
    faults: OpenaiFaults

    def habits(self) -> Habits:
        """Seconds; no files."""
        return Habits({"response": (2, 30)}, FAILURES, lambda task: [], cancels=True)

    def example(self) -> str:
        """A curl command that submits."""
        return self.curl(RESPONSES, '{"model":"sandbox","input":"hello","background":true}')

    def routes(self) -> list[BaseRoute]:
        """Responses only."""
        return [
            route(self, "POST", RESPONSES, self.submit),
            route(self, "GET", RESPONSES + "/{id}", self.get_response),
            route(self, "POST", RESPONSES + "/{id}/cancel", self.cancel),
        ]

    def failed(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """`{"error": {"message", "type", "param", "code"}}`; no credit left is a 429 there."""
        type_, code, message = TYPES[status]
        body = {"error": {"message": message, "type": type_, "param": None, "code": code}}
        return answer(body, 429 if status == 402 else status, headers)

    def address(self, task: Task) -> str | None:
        """The project's endpoint, for background responses."""
        return self.faults.webhook_url if task.request.get("background") else None

    # Routes

    async def submit(self, request: Request) -> Response:
        """200 with the response, queued."""
        body = await self.object_of(request)
        if not isinstance(body.get("model"), str) or "input" not in body:
            raise Refused(self.failed(400))
        self.admit(body)
        task = self.draft("resp_" + self.new_name(string.hexdigits[:16], 48), "response", body, None)
        if self.faults.incomplete.hit(task.rng):
            task.script = {"end": "failed", "code": INCOMPLETE} | task.script
        self.keep(task)
        return answer(self._response(task))

    async def get_response(self, request: Request) -> Response:
        """The response."""
        return answer(self._response(self.found(request.path_params["id"])))

    async def cancel(self, request: Request) -> Response:
        """The response, cancelled if it had not ended."""
        task = self.found(request.path_params["id"])
        self.world.finish(task, self.clock.now(), "canceled")
        return answer(self._response(task))

    # Shapes

    def word_of(self, task: Task) -> str:
        """A failure may be called incomplete."""
        incomplete = task.phase == "failed" and task.error_code == INCOMPLETE
        return INCOMPLETE if incomplete else super().word_of(task)

    def messages(self, task: Task, what: str) -> Iterator[Message]:
        """Thin: only the id; the newest state has to be fetched."""
        if what == "ended":
            event, name = f"response.{self.word_of(task)}", uuid.UUID(int=task.rng.getrandbits(128)).hex
            at = int((task.ended_at or self.clock.now()).timestamp())
            body = {"id": f"evt_{name}", "object": "event", "created_at": at, "type": event, "data": {"id": task.id}}
            yield Message(event, encode(body), f"wh_{name}", {"User-Agent": AGENT})

    def _response(self, task: Task) -> dict[str, Any]:
        word, error, details = self.word_of(task), None, None
        if word == INCOMPLETE:
            details = {"reason": "max_output_tokens"}
        elif task.error is not None:
            error = {"code": task.error_code or "server_error", "message": task.error}
        output: list[dict[str, Any]] = []
        if task.phase == "succeeded":
            text = {"type": "output_text", "text": "hello", "annotations": []}
            output = [{"type": "message", "id": f"msg_{task.number}", "role": "assistant", "content": [text]}]
        return {
            "id": task.id,
            "object": "response",
            "created_at": int(task.created_at.timestamp()),
            "status": word,
            "background": bool(task.request.get("background")),
            "error": error,
            "incomplete_details": details,
            "model": task.request["model"],
            "output": output,
        }


running_openai = opener(OpenaiSandbox)
