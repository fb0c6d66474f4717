"""A stand-in for Replicate (UPSTREAMS §5.1): signed callbacks with whole predictions, data gone in an hour."""

from __future__ import annotations

import string
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.sandbox.clock import milli_stamp
from receiver.sandbox.tasks_app import opener, route
from receiver.sandbox.tasks_faults import ReplicateFaults
from receiver.sandbox.tasks_records import File, Task
from receiver.sandbox.tasks_sandbox import Message, Refused
from receiver.sandbox.tasks_standard import StandardSandbox
from receiver.sandbox.tasks_world import Habits
from receiver.sandbox.wire import answer, encode, is_web_url

PREDICTIONS = "/v1/predictions"
PAGE = 100
WORDS = {
    "queued": "starting",
    "processing": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
}
EVENTS = ("start", "output", "logs", "completed")
FAILURES = (
    (None, "Prediction failed: the model raised an exception"),
    (None, "NSFW content detected. Try running it again, or try a different prompt."),
    (None, "CUDA out of memory"),
)
TITLES = {
    400: "The request is invalid",
    401: "Unauthenticated",
    402: "Insufficient credit",
    404: "The requested resource could not be found.",
    429: "Request was throttled.",
    500: "Internal server error",
    503: "Service unavailable",
}


class ReplicateSandbox(StandardSandbox):
    """Statuses, errors and callbacks in Replicate's words."""

    faults_type = ReplicateFaults
    words = WORDS
    faults: ReplicateFaults

    def habits(self) -> Habits:
        """Seconds."""
        return Habits({"image": (2, 20)}, FAILURES, _files, cancels=True)

    def example(self) -> str:
        """A curl command that submits."""
        return self.curl(PREDICTIONS, '{"version":"hidden","input":{"prompt":"a lighthouse"}}')

    def routes(self) -> list[BaseRoute]:
        """`https://api.replicate.com/v1` and what is below it."""
        return [
            route(self, "POST", PREDICTIONS, self.submit),
            route(self, "POST", "/v1/models/{owner}/{name}/predictions", self.submit),
            route(self, "POST", "/v1/deployments/{owner}/{name}/predictions", self.submit),
            route(self, "GET", PREDICTIONS, self.list_predictions),
            route(self, "GET", PREDICTIONS + "/{id}", self.get_prediction),
            route(self, "POST", PREDICTIONS + "/{id}/cancel", self.cancel),
            route(self, "GET", "/v1/webhooks/default/secret", self.secret),
        ]

    def failed(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """`{"title", "detail", "status"}`."""
        return answer({"title": TITLES[status], "detail": TITLES[status], "status": status}, status, headers)

    def files_left(self, task: Task) -> bool:
        """For an hour, before `--speed`."""
        kept = timedelta(seconds=self.faults.kept / self.faults.speed)
        fresh = task.ended_at is None or self.clock.now() < task.ended_at + kept
        return fresh and super().files_left(task)

    # Routes

    async def submit(self, request: Request) -> Response:
        """201 with the prediction."""
        body, params = await self.object_of(request), request.path_params
        callback, wants = body.get("webhook"), body.get("webhook_events_filter") or list(EVENTS)
        if not isinstance(body.get("input"), dict) or not set(wants) <= set(EVENTS):
            raise Refused(self.failed(400))
        if callback is not None and not is_web_url(callback, allow_http=self.faults.allow_http):
            raise Refused(self.failed(400))
        self.admit(body)
        task = self.draft(self.new_name(string.ascii_lowercase + string.digits, 26), "image", body, callback)
        task.facts |= {"model": f"{params['owner']}/{params['name']}" if params else "sandbox/model", "wants": wants}
        self.keep(task)
        return answer(self._prediction(task), 201)

    async def get_prediction(self, request: Request) -> Response:
        """The prediction; after its hour without its data."""
        return answer(self._prediction(self.found(request.path_params["id"])))

    async def list_predictions(self, request: Request) -> Response:
        """`{"previous", "next", "results"}`, a hundred at a time."""
        cursor = request.query_params.get("cursor", "")
        before = int(cursor) if cursor.isascii() and cursor.isdecimal() and len(cursor) < 12 else 10**12
        tasks = [task for task in self.world.newest_first(self.clock.now()) if task.number < before]
        after = f"{self.public_url()}{PREDICTIONS}?cursor={tasks[PAGE - 1].number}" if len(tasks) > PAGE else None
        return answer({"previous": None, "next": after, "results": [self._prediction(task) for task in tasks[:PAGE]]})

    async def cancel(self, request: Request) -> Response:
        """The prediction, canceled if it had not ended."""
        task = self.found(request.path_params["id"])
        self.world.finish(task, self.clock.now(), "canceled")
        return answer(self._prediction(task))

    async def secret(self, request: Request) -> Response:
        """The account's."""
        return answer({"key": self.faults.signing_secret})

    # Shapes

    def messages(self, task: Task, what: str) -> Iterator[Message]:
        """Whole predictions; all but the last are tried once."""
        event = {"started": "start", "progress": "logs", "ended": "completed"}.get(what)
        if event is not None and event in task.facts["wants"]:
            delivery = "msg_" + uuid.UUID(int=task.rng.getrandbits(128)).hex[:27]
            yield Message(event, encode(self._prediction(task)), delivery, once=event != "completed")

    def _prediction(self, task: Task) -> dict[str, Any]:
        url, left = f"{self.public_url()}{PREDICTIONS}/{task.id}", self.files_left(task)
        shown: dict[str, Any] = {
            "id": task.id,
            "model": task.facts["model"],
            "version": task.request.get("version", "hidden"),
            "input": task.request["input"] if left else {},
            "logs": f"{task.progress}%\n" if left and task.progress else "",
            "output": [self.file_url(task, file) for file in task.files] if left and task.files else None,
            "data_removed": not left,
            "error": task.error,
            "source": "api",
            "status": self.word_of(task),
            "created_at": _stamp(task.created_at),
            "started_at": _stamp(task.started_at),
            "completed_at": _stamp(task.ended_at),
            "metrics": {},
            "urls": {"get": url, "cancel": url + "/cancel"},
        }
        if task.ended_at is not None:
            began = task.started_at or task.ended_at
            times = {"predict_time": task.ended_at - began, "total_time": task.ended_at - task.created_at}
            shown["metrics"] = {name: span.total_seconds() for name, span in times.items()}
        if task.callback_url:
            shown |= {"webhook": task.callback_url, "webhook_events_filter": task.facts["wants"]}
        return shown


def _files(task: Task) -> list[File]:
    number = task.request["input"].get("num_outputs", 1)
    places = number if isinstance(number, int) and 1 <= number <= 4 else 1
    return [File(task.id, str(place), f"out-{place}.webp") for place in range(places)]


def _stamp(at: datetime | None) -> str | None:
    return None if at is None else milli_stamp(at)


running_replicate = opener(ReplicateSandbox)
