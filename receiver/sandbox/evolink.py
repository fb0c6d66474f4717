"""A stand-in for EvoLink's unified task API (UPSTREAMS §3): the callback is the GET answer, a little later, and after
three retries there is silence."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.sandbox.evolink_errors import FAILURES, GATEWAY_CODES, MESSAGES, TYPES, wrong_callback
from receiver.sandbox.faults import seeded
from receiver.sandbox.tasks_app import opener, route
from receiver.sandbox.tasks_faults import EvolinkFaults
from receiver.sandbox.tasks_records import File, Task
from receiver.sandbox.tasks_sandbox import Message, Refused, TaskSandbox
from receiver.sandbox.tasks_world import Habits
from receiver.sandbox.wire import answer, encode, number_in

PREFIX = "task-unified-"
BATCH = 50
KINDS = {"images": "image", "videos": "video", "audios": "audio"}
ENDINGS = {"image": "png", "video": "mp4", "audio": "mp3"}
RULES = {"image": "per_call", "video": "per_second", "audio": "per_call"}
WORDS = {
    "queued": "pending",
    "processing": "processing",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "cancelled",
}


class EvolinkSandbox(TaskSandbox):
    """Statuses, errors and callbacks in EvoLink's words."""

    faults_type = EvolinkFaults
    words = WORDS
    faults: EvolinkFaults

    def __init__(self, faults: EvolinkFaults) -> None:
        super().__init__(faults)
        self._codes = seeded(faults.seed, "codes")

    def habits(self) -> Habits:
        """Half a minute for an image, minutes for a video."""
        return Habits({"image": (10, 40), "video": (45, 180), "audio": (15, 60)}, FAILURES, _files, cancels=True)

    def example(self) -> str:
        """A curl command that submits."""
        return self.curl("/v1/images/generations", '{"model":"gpt-image-2","prompt":"a lighthouse"}')

    def routes(self) -> list[BaseRoute]:
        """§3.2."""
        submits: list[BaseRoute] = [route(self, "POST", f"/v1/{kind}/generations", self.submit) for kind in KINDS]
        return [
            *submits,
            route(self, "POST", "/v1/tasks/batch", self.batch, reading=True),
            route(self, "GET", "/v1/tasks", self.list_tasks),
            route(self, "GET", "/v1/tasks/{id}", self.get_task),
        ]

    def let_in(self, request: Request) -> bool:
        """Bearer (§3.1)."""
        return self.is_bearer(request)

    def failed(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """`code` is the HTTP status or one of the gateway's strings (§3.5)."""
        words = GATEWAY_CODES.get(status, ())
        text = self.faults.codes == "string" or (self.faults.codes == "mixed" and self._codes.random() < 0.5)
        code = self._codes.choice(words) if words and text else str(status) if text else status
        return _error(status, code, headers=headers)

    def refusal(self, code: str) -> Response:
        """A number is an HTTP status; a gateway code comes with the status it belongs to."""
        if code.isdecimal() and int(code) in TYPES:
            return _error(int(code), int(code))
        return _error(next((status for status, words in GATEWAY_CODES.items() if code in words), 400), code)

    # Routes

    async def submit(self, request: Request) -> Response:
        """200 with the task. An `Idempotency-Key` used before gives the task there is, and says so."""
        body, key = await self.object_of(request), request.headers.get("idempotency-key")
        if task := self.world.by_key(key, self.clock.now()):
            if task.request != {name: value for name, value in body.items() if name != "sandbox"}:
                return _error(409, "idempotency_conflict")
            return answer(self._task(task), 200, {"idempotency-replayed": "true"})
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise Refused(_error(400, "invalid_parameters", "model is required", "model"))
        callback, faults = body.get("callback_url"), self.faults
        if callback is not None:
            why = wrong_callback(callback, allow_http=faults.allow_http, refuse_private=faults.refuse_private)
            if why:
                raise Refused(_error(400, "invalid_parameters", why, "callback_url"))
        self.admit(body)
        kind = KINDS[request.url.path.split("/")[2]]
        name = self.new_name(string.ascii_lowercase + string.digits, 8)
        task = self.draft(f"{PREFIX}{int(self.clock.now().timestamp())}-{name}", kind, body, callback)
        task.key = key
        self.keep(task)
        return answer(self._task(task))

    async def get_task(self, request: Request) -> Response:
        """400 for an id of the wrong form, 404 for one nobody knows."""
        task_id = request.path_params["id"]
        if not task_id.startswith(PREFIX):
            raise Refused(_error(400, "invalid_task_id", f"Invalid task ID: must start with '{PREFIX}'", "task_id"))
        task = self.world.visible(task_id, self.clock.now())
        return answer(self._task(task)) if task else _error(404, "task_not_found")

    async def batch(self, request: Request) -> Response:
        """At most 50 ids. What is said of unknown ones is not documented: they are left out."""
        ids = (await self.object_of(request)).get("task_ids")
        if not isinstance(ids, list) or not ids or len(ids) > BATCH or not all(isinstance(i, str) for i in ids):
            raise Refused(_error(400, "invalid_parameters", f"task_ids takes 1 to {BATCH} ids", "task_ids"))
        found = (self.world.visible(task_id, self.clock.now()) for task_id in ids)
        return answer({"data": [self._task(task) for task in found if task]})

    async def list_tasks(self, request: Request) -> Response:
        """Newest first, without result links."""
        params = request.query_params
        tasks = [
            task
            for task in self.world.newest_first(self.clock.now())
            if params.get("status") in (None, "", self.word_of(task))
            and params.get("type") in (None, "", task.type)
            and params.get("model") in (None, "", task.request["model"])
        ]
        page, size = number_in(request, "page", 1, 1, 10**6), number_in(request, "page_size", 20, 1, 100)
        shown = [self._item(task) for task in tasks[(page - 1) * size : page * size]]
        return answer({"data": shown, "total": len(tasks), "page": page, "page_size": size})

    # Shapes

    def messages(self, task: Task, what: str) -> Iterator[Message]:
        """The whole task once it has ended and is billed (§3.3); no header of its own, no signature."""
        if what == "ended":
            body = self._task(task)
            if self.faults.callback_without_error:
                body.pop("error", None)
            yield Message(self.word_of(task), encode(body), after=self.faults.billing_seconds)

    def _task(self, task: Task) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "created": int(task.created_at.timestamp()),
            "id": task.id,
            "model": task.request["model"],
            "object": f"{task.type}.generation.task",
            "progress": 0 if task.phase in ("failed", "queued") else task.progress,
        }
        if task.phase == "succeeded":
            shown["results"] = [self.file_url(task, file) for file in task.files]
        shown["status"] = self.word_of(task)
        if task.error is not None:
            shown["error"] = {"code": task.error_code or "unknown_error", "message": task.error}
        shown["task_info"] = self._info(task)
        return shown | {"type": task.type, "usage": self._usage(task)}

    def _info(self, task: Task) -> dict[str, Any]:
        info: dict[str, Any] = {"can_cancel": task.phase == "queued"}
        if task.open:
            info["estimated_time"] = int(self.habits().paces[task.type][1])
        if task.type == "video":
            info["video_duration"] = task.request.get("duration", 5)
        return info

    def _usage(self, task: Task) -> dict[str, Any]:
        usage = {"billing_rule": RULES[task.type], "credits_reserved": 20 if task.type == "video" else 1.6}
        # Failed tasks are not charged (§3.6).
        if task.phase == "succeeded":
            usage["credits_used"] = usage["credits_reserved"]
        return usage | {"user_group": "default"}

    def _item(self, task: Task) -> dict[str, Any]:
        full = self._task(task)
        item = {key: full[key] for key in ("id", "model", "object", "type", "status", "progress")}
        item |= {"has_results": bool(task.files), "has_error": task.error is not None, "created_at": full["created"]}
        return item | {"credits_used": full["usage"].get("credits_used", 0)}


def _files(task: Task) -> list[File]:
    """As many as `n` asks for, at most ten."""
    asked = task.request.get("n", 1)
    number = asked if isinstance(asked, int) and 1 <= asked <= 10 else 1
    return [File(task.id, str(place), f"{place}.{ENDINGS[task.type]}") for place in range(number)]


def _error(
    status: int,
    code: int | str,
    message: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    error: dict[str, Any] = {"code": code, "message": message or MESSAGES[status], "type": TYPES[status]}
    return answer({"error": error | ({"param": param} if param else {})}, status, headers)


running_evolink = opener(EvolinkSandbox)
