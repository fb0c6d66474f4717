"""A stand-in for fal's queue (UPSTREAMS §5.2): callbacks signed with Ed25519, and a COMPLETED that hides failures."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.sandbox.faults import seeded
from receiver.sandbox.media import content_type
from receiver.sandbox.signatures import Ed25519Key
from receiver.sandbox.tasks_app import opener, route
from receiver.sandbox.tasks_faults import FalFaults
from receiver.sandbox.tasks_records import File, Task
from receiver.sandbox.tasks_sandbox import Message, Refused, TaskSandbox
from receiver.sandbox.tasks_world import Habits
from receiver.sandbox.wire import answer, encode, is_web_url

USER = "user_1"
WORDS = {
    "queued": "IN_QUEUE",
    "processing": "IN_PROGRESS",
    "succeeded": "COMPLETED",
    "failed": "COMPLETED",
    "canceled": "CANCELLED",
}
# The code is the HTTP status of the result; the message what its `detail` says.
FAILURES = (("422", "field required"), ("422", "value is not a valid image"), ("500", "Internal Server Error"))
DETAILS = {
    400: "Bad request",
    401: "No user found for Key ID and Secret",
    402: "Exhausted balance",
    404: "Not found",
    429: "Too many requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class FalSandbox(TaskSandbox):
    """Statuses, errors and callbacks in fal's words. A model is `owner/app`, with or without a path behind it."""

    faults_type = FalFaults
    words = WORDS
    faults: FalFaults

    def habits(self) -> Habits:
        """By what the model's path says it makes."""
        return Habits({"image": (2, 15), "video": (30, 120)}, FAILURES, _files, cancels=True)

    def example(self) -> str:
        """A curl command that submits."""
        return self.curl("/fal-ai/flux/dev", '{"prompt":"a lighthouse"}', "Authorization: Key")

    def routes(self) -> list[BaseRoute]:
        """The queue and the key set, which really is on another host (`rest.fal.ai`)."""
        one = "/{owner}/{app}/requests/{id}"
        return [
            route(self, "GET", "/.well-known/jwks.json", self.jwks, key=False, reading=False),
            route(self, "GET", one + "/status", self.status),
            route(self, "GET", one, self.result),
            route(self, "PUT", one + "/cancel", self.cancel),
            route(self, "POST", "/{owner}/{app}", self.submit),
            route(self, "POST", "/{owner}/{app}/{rest:path}", self.submit),
        ]

    def let_in(self, request: Request) -> bool:
        """`Authorization: Key …`."""
        return self.is_bearer(request, "key")

    def failed(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """`{"detail": …}`."""
        return answer({"detail": DETAILS[status]}, status, headers)

    @property
    def signs(self) -> bool:
        """Always."""
        return True

    def seal(self, message: Message, at: datetime, *, forged: bool = False) -> dict[str, str]:
        """With the newest key."""
        key = Ed25519Key.of("forged") if forged else self._key(self.faults.signing_key)
        return key.fal(message.delivery, USER, at, message.body)

    def _key(self, number: int) -> Ed25519Key:
        return Ed25519Key.of("fal", self.faults.seed, number)

    # Routes

    async def jwks(self, request: Request) -> Response:
        """The key that signs, and the one before."""
        if self.faults.jwks_down:
            return self.failed(503)
        numbers = range(max(self.faults.signing_key - 1, 1), self.faults.signing_key + 1)
        return answer({"keys": [self._key(number).jwk() for number in numbers]})

    async def submit(self, request: Request) -> Response:
        """`?fal_webhook=`; the body is the model's input."""
        body, params = await self.object_of(request), request.path_params
        callback = request.query_params.get("fal_webhook")
        if callback is not None and not is_web_url(callback, allow_http=self.faults.allow_http):
            raise Refused(answer({"detail": "fal_webhook must be an HTTPS URL"}, 400))
        self.admit(body)
        bits = seeded(self.faults.seed, "id", len(self.world.tasks)).getrandbits(128)
        model = "/".join(params[name] for name in ("owner", "app", "rest") if params.get(name))
        type_ = "video" if "video" in model else "image"
        task = self.draft(str(uuid.UUID(int=bits, version=4)), type_, body, callback)
        task.facts |= {"app": f"{params['owner']}/{params['app']}", "model": model}
        self.keep(task)
        return answer(self._ticket(task) | {"status": "IN_QUEUE", "queue_position": 0})

    async def status(self, request: Request) -> Response:
        """COMPLETED says nothing of success."""
        task = self._asked(request)
        shown = self._ticket(task) | {"status": self.word_of(task)}
        if task.phase == "queued":
            shown["queue_position"] = 0
        elif "logs" in dict(parse_qsl(request.url.query)):
            shown["logs"] = []
        if task.ended and task.started_at and task.ended_at:
            shown["metrics"] = {"inference_time": (task.ended_at - task.started_at).total_seconds()}
        return answer(shown)

    async def result(self, request: Request) -> Response:
        """What the model gave, with the HTTP status it gave; 400 while it works."""
        task = self._asked(request)
        if not task.ended:
            raise Refused(answer({"detail": "Request is still in progress"}, 400))
        if task.phase == "canceled":
            raise Refused(answer({"detail": "Request was cancelled"}, 400))
        return answer(self._payload(task), _status(task))

    async def cancel(self, request: Request) -> Response:
        """202; what follows is not documented: here the request is over, without a callback."""
        task = self._asked(request)
        if task.ended:
            return answer({"status": "ALREADY_COMPLETED"}, 400)
        self.world.finish(task, self.clock.now(), "canceled")
        return answer({"status": "CANCELLATION_REQUESTED"}, 202)

    # Shapes

    def messages(self, task: Task, what: str) -> Iterator[Message]:
        """One, at the end: `OK` or `ERROR`."""
        if what != "ended" or task.phase == "canceled":
            return
        good = task.phase == "succeeded"
        body: dict[str, Any] = {"request_id": task.id, "gateway_request_id": task.id}
        body["status"] = "OK" if good else "ERROR"
        if good and self.faults.payload_errors.hit(task.rng):
            body |= {"payload": None, "payload_error": "Response payload is not JSON serializable"}
        else:
            body |= {"payload": self._payload(task)}
        if not good:
            body |= {"error": f"Invalid status code: {_status(task)}"}
        yield Message(body["status"], encode(body), task.id)

    def _payload(self, task: Task) -> dict[str, Any]:
        if task.phase != "succeeded":
            at = {"loc": ["body", "prompt"], "msg": task.error, "type": "value_error.missing"}
            return {"detail": [at] if task.error_code == "422" else task.error}
        files: list[dict[str, Any]] = [
            {"url": self.file_url(task, f), "content_type": content_type(f.name), "file_name": f.name}
            for f in task.files
        ]
        if task.type == "video":
            return {"video": files[0]}
        images = [{**file, "width": 1024, "height": 768} for file in files]
        return {"images": images, "prompt": task.request.get("prompt")}

    def _asked(self, request: Request) -> Task:
        task, params = self.found(request.path_params["id"]), request.path_params
        if task.facts["app"] != f"{params['owner']}/{params['app']}":
            raise Refused(self.failed(404))
        return task

    def _ticket(self, task: Task) -> dict[str, Any]:
        url = f"{self.public_url()}/{task.facts['app']}/requests/{task.id}"
        ticket = {"request_id": task.id, "gateway_request_id": task.id, "response_url": url}
        return ticket | {"status_url": url + "/status", "cancel_url": url + "/cancel"}


def _status(task: Task) -> int:
    """The HTTP status of the result; a failure nobody gave one is a 500."""
    if task.phase == "succeeded":
        return 200
    return int(task.error_code) if task.error_code in ("422", "500", "502", "503", "504") else 500


def _files(task: Task) -> list[File]:
    ending = "mp4" if task.type == "video" else "png"
    return [File(task.id, "0", f"0.{ending}")]


running_fal = opener(FalSandbox)
