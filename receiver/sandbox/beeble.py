"""A stand-in for Beeble's SwitchX API (UPSTREAMS §2): one callback at the end of a job, and five reads a minute."""

from __future__ import annotations

import base64
import string
from collections.abc import Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.sandbox.beeble_requests import SENTENCES, STATUS_OF, Wrong, check_generation, check_upload
from receiver.sandbox.clock import second_stamp
from receiver.sandbox.gateway import retry_after
from receiver.sandbox.ratelimit import RateLimit
from receiver.sandbox.tasks_app import opener, route
from receiver.sandbox.tasks_faults import BeebleFaults
from receiver.sandbox.tasks_records import File, Task
from receiver.sandbox.tasks_sandbox import Message, Refused, TaskSandbox
from receiver.sandbox.tasks_world import Habits
from receiver.sandbox.wire import answer, encode, number_in

GENERATIONS = "/v1/switchx/generations"
# A failed job's error is one plain string (§2.3); only the first is from the documents.
FAILURES = (
    (None, "Processing failed"),
    (None, "Source video could not be decoded"),
    (None, "Alpha matte does not match the source"),
    (None, "Generation timed out"),
)
CODES = {
    400: "INVALID_URI",
    401: "INVALID_API_KEY",
    404: "JOB_NOT_FOUND",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "INTERNAL_ERROR",
}
# No canceled and no expired (§2.2).
WORDS = {"queued": "in_queue", "processing": "processing", "succeeded": "completed", "failed": "failed"}


class BeebleSandbox(TaskSandbox):
    """Statuses, errors and callbacks in Beeble's words."""

    faults_type = BeebleFaults
    words = WORDS
    faults: BeebleFaults

    def __init__(self, faults: BeebleFaults) -> None:
        super().__init__(faults)
        self._reads, self._writes = RateLimit(), RateLimit()

    def habits(self) -> Habits:
        """Minutes for a video, some seconds for an image."""
        return Habits({"image": (8, 25), "video": (40, 150)}, FAILURES, _files)

    def example(self) -> str:
        """A curl command that submits."""
        body = (
            '{"generation_type":"image","source_uri":"https://example.com/a.png","alpha_mode":"auto","prompt":"dusk"}'
        )
        return self.curl(GENERATIONS, body, "x-api-key:")

    def routes(self) -> list[BaseRoute]:
        """§2.2."""
        return [
            route(self, "POST", "/v1/uploads", self.upload),
            route(self, "PUT", "/uploads/{id}/{name}", self.put_upload, key=False),
            route(self, "POST", GENERATIONS, self.submit),
            route(self, "GET", GENERATIONS, self.list_jobs),
            route(self, "GET", GENERATIONS + "/{id}", self.get_job),
            route(self, "GET", "/v1/account/info", self.account),
            route(self, "GET", "/v1/account/billing", self.billing),
        ]

    def let_in(self, request: Request) -> bool:
        """`x-api-key` (§2.1)."""
        return self.is_key(request.headers.get("x-api-key", ""))

    def failed(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """`{"error": {"message", "code"}}` (§2.6)."""
        return _error(status, self.faults.billing_code if status == 402 else CODES[status], headers)

    def refusal(self, code: str) -> Response:
        """By the table; a code that stands under two statuses takes the first, `500:CODE` names another."""
        status, colon, word = code.partition(":")
        return _error(int(status), word) if colon else _error(STATUS_OF.get(code, 400), code)

    def hold_back(self, request: Request, *, reading: bool) -> Response | None:
        """Five reads and five writes a minute for the whole account (§2.5). A refused request does not count."""
        faults = self.faults
        most = faults.reads_per_minute if reading else faults.writes_per_minute
        limit = self._reads if reading else self._writes
        granted = limit.take(self.clock.now(), most, 60 / faults.speed)
        return None if granted else self.failed(429, retry_after(faults))

    # Routes

    async def upload(self, request: Request) -> Response:
        """Where to put a file; nothing of it is kept."""
        name = self._checked(check_upload, await self.object_of(request))
        upload = "upload_" + self.new_name(string.hexdigits[:16], 8) + f"{len(self.requests):06d}"
        query, _ = self.signer.query(f"{upload}/{name}", self.clock.now(), 3600)
        url = f"{self.public_url()}/uploads/{upload}/{name}?{query}"
        return answer({"id": upload, "upload_url": url, "beeble_uri": f"beeble://uploads/{upload}/{name}"})

    async def put_upload(self, request: Request) -> Response:
        """Presigned for an hour."""
        path, params = f"{request.path_params['id']}/{request.path_params['name']}", request.query_params
        opens = self.signer.opens(path, params.get("sig", ""), params.get("exp", ""), self.clock.now())
        async for _ in request.stream():
            pass
        return Response(status_code=200 if opens else 403)

    async def submit(self, request: Request) -> Response:
        """200 with the status object; the same `idempotency_key` gives the job there is."""
        body, faults = await self.object_of(request), self.faults
        self._checked(lambda given: check_generation(given, allow_http=faults.allow_http), body)
        if task := self.world.by_key(body.get("idempotency_key"), self.clock.now()):
            return self._answer(task)
        if 0 < faults.concurrent_jobs <= self.world.open:
            raise Refused(_error(429, "CONCURRENT_LIMIT_EXCEEDED"))
        self.admit(body)
        job_id = "swx_" + self.new_name(string.ascii_lowercase + string.digits, 12)
        task = self.draft(job_id, body["generation_type"], body, body.get("callback_url"))
        task.key = body.get("idempotency_key")
        self.keep(task)
        return self._answer(task)

    async def get_job(self, request: Request) -> Response:
        """The status object with URLs that were signed just now (§2.4)."""
        return self._answer(self.found(request.path_params["id"]))

    async def list_jobs(self, request: Request) -> Response:
        """Newest first, `limit` 1 to 100 (what happens beyond is not documented; here it is cut), `page_token`."""
        limit = number_in(request, "limit", 20, 1, 100)
        try:
            before = int(base64.urlsafe_b64decode(request.query_params.get("page_token", "")) or 10**12)
        except ValueError:
            raise Refused(self.failed(400)) from None
        tasks = [task for task in self.world.newest_first(self.clock.now()) if task.number < before]
        page = tasks[:limit]
        token = base64.urlsafe_b64encode(str(page[-1].number).encode()).decode() if len(tasks) > limit else None
        jobs = [self._status(task) | ({} if self.faults.list_output else {"output": None}) for task in page]
        return answer({"jobs": jobs, "next_page_token": token})

    async def account(self, request: Request) -> Response:
        """Usage and limits."""
        now, window, faults = self.clock.now(), 60 / self.faults.speed, self.faults
        limits = {
            "rpm": {"usage": self._reads.used(now, window), "limit": faults.reads_per_minute},
            "concurrency": {"usage": self.world.open, "limit": faults.concurrent_jobs},
        }
        info = {"email": "team@example.com", "billing_type": "prepaid", "spending_limit": 5000, "rate_limits": limits}
        return answer(info)

    async def billing(self, request: Request) -> Response:
        """Not documented beyond being there."""
        return answer({"billing_type": "prepaid", "balance": self.faults.credits})

    # Shapes

    def messages(self, task: Task, what: str) -> Iterator[Message]:
        """Once per job, on completed or failed (§2.3): no event name, no delivery id, no signature."""
        if what != "ended":
            return
        word = self.word_of(task)
        body: dict[str, Any] = {"id": task.id, "status": word}
        if task.phase == "succeeded":
            body |= {"output": self._output(task)}
        body |= {"completed_at": _stamp(task.ended_at)}
        if task.phase != "succeeded":
            body |= {"error": task.error}
        yield Message(word, encode(body))

    def remember(self, task: Task, line: dict[str, Any]) -> None:
        """`webhook` of the status object."""
        if line["outcome"] == "dropped":
            return  # lost on the way: upstream does not know
        word = {"delivered": "delivered", "retrying": "pending"}.get(line["outcome"], "failed")
        why = f"HTTP {line['status']} {_phrase(line['status'])}" if line["status"] else line["error"]
        task.told = {"status": word, "attempts": line["attempt"], "last_error": None if word == "delivered" else why}

    def _status(self, task: Task) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": task.id,
            "status": self.word_of(task),
            "progress": None if task.phase == "queued" else task.progress,
            "generation_type": task.type,
            "alpha_mode": task.request["alpha_mode"],
            "output": self._output(task) if task.phase == "succeeded" else None,
            "seed": task.request.get("seed"),
            "error": task.error,
            "created_at": _stamp(task.created_at),
            "modified_at": _stamp(task.modified_at),
            "completed_at": _stamp(task.ended_at),
        }
        if task.callback_url:
            shown["webhook"] = task.told or {"status": "pending", "attempts": 0, "last_error": None}
        return shown

    def _output(self, task: Task) -> dict[str, str | None]:
        urls: dict[str, str | None] = {"render": None, "source": None, "alpha": None}
        return urls | {file.slot: self.file_url(task, file) for file in task.files}

    def _answer(self, task: Task) -> Response:
        return answer(self._status(task))

    def _checked(self, check: Any, body: dict[str, Any]) -> Any:
        try:
            return check(body)
        except Wrong as wrong:
            raise Refused(_error(400, wrong.code)) from None


def _files(task: Task) -> list[File]:
    """Render and source; an alpha, unless `fill` needs none."""
    ending = "mp4" if task.type == "video" else "png"
    slots = ["render", "source"] + ([] if task.request.get("alpha_mode") == "fill" else ["alpha"])
    return [File(task.id, slot, f"{slot}.{ending}") for slot in slots]


def _stamp(at: datetime | None) -> str | None:
    return None if at is None else second_stamp(at)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"


def _error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    return answer({"error": {"message": SENTENCES.get(code, code), "code": code}}, status, headers)


running_beeble = opener(BeebleSandbox)
