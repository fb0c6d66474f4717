"""A stand-in for RemoveBGVideo (UPSTREAMS §4): drafts, restarts of the same id, callbacks with a body unknown."""

from __future__ import annotations

import re
import string
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from receiver.sandbox.clock import second_stamp
from receiver.sandbox.signatures import timestamped
from receiver.sandbox.tasks_app import opener, route
from receiver.sandbox.tasks_faults import RemovebgvideoFaults
from receiver.sandbox.tasks_records import File, Task
from receiver.sandbox.tasks_sandbox import Message, Refused, TaskSandbox
from receiver.sandbox.tasks_world import Habits
from receiver.sandbox.wire import answer, encode, is_web_url, number_in

# Both versions of the pages (§4.3): `created` is a draft, `pending` waits in the queue. No canceled, no expired.
WORDS = {
    "draft": "created",
    "queued": "pending",
    "processing": "processing",
    "succeeded": "completed",
    "failed": "failed",
}
EVENTS = {"started": "job.started", "succeeded": "job.completed", "failed": "job.failed"}
FAILURES = ((None, "Processing failed"), (None, "Could not decode the video"), (None, "Segmentation timed out"))
CODES = {
    400: ("invalid_request", "The request is invalid"),
    401: ("invalid_api_key", "The API key is invalid or disabled"),
    402: ("insufficient_credits", "Not enough credits to process this video"),
    429: ("rate_limited", "Too many requests"),
    500: ("internal_error", "Internal server error"),
    503: ("internal_error", "Service temporarily unavailable"),
}
CHOICES = {
    "model": ("original", "light", "pro", "human"),
    "bg_type": ("transparent", "green", "white", "black", "blue", "custom"),
    "output_format": ("webm", "mov", "mp4", "gif", "webp", "png_sequence"),
}
START_FIELDS = frozenset(CHOICES) | {
    *("text_prompt", "background", "composition", "preview_duration", "webhook_url", "bg_color")
}
BILLING = {"succeeded": "charged", "failed": "refunded", "draft": None}
PER_MINUTE = {"original": 60, "light": 45, "pro": 180, "human": 45}


class RemovebgvideoSandbox(TaskSandbox):
    """Statuses, errors and callbacks in RemoveBGVideo's words."""

    faults_type = RemovebgvideoFaults
    words = WORDS
    faults: RemovebgvideoFaults

    def habits(self) -> Habits:
        """A minute or two; most jobs begin at once."""
        return Habits({"video": (20, 120)}, FAILURES, _files, queue=0.0)

    def example(self) -> str:
        """A curl command that submits."""
        return self.curl("/v1/jobs", '{"video_url":"https://example.com/a.mp4","model":"pro"}', "X-Api-Key:")

    def routes(self) -> list[BaseRoute]:
        """§4.2; the legacy routes need no key."""
        return [
            route(self, "POST", "/v1/uploads", self.upload),
            route(self, "POST", "/v1/jobs", self.submit),
            route(self, "GET", "/v1/jobs", self.list_jobs),
            route(self, "POST", "/v1/jobs/{id}/start", self.start_job),
            route(self, "GET", "/v1/jobs/{id}", self.get_job),
            route(self, "GET", "/api/download/{id}", self.download, key=False),
            route(self, "GET", "/v1/usage/summary", self.usage),
            route(self, "GET", "/v1/usage/events", self.usage_events),
            route(self, "GET", "/api/pricing", self.pricing, key=False, reading=False),
            route(self, "GET", "/health", self.health, key=False, reading=False),
        ]

    def let_in(self, request: Request) -> bool:
        """`X-Api-Key` (§4.1); none at all has an error of its own."""
        given = request.headers.get("x-api-key")
        if not given:
            raise Refused(self._error(401, "missing_api_key", "The X-Api-Key header is missing"))
        return self.is_key(given)

    def failed(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """`{"error": {"code", "message", "request_id"}}` (seed 001), where there is a code (§4.7)."""
        if status == 404:
            return self._plain(404, "Job not found")
        return self._error(status, *CODES[status], headers)

    def refusal(self, code: str) -> Response:
        """By its code or its status."""
        status = int(code) if code.isdecimal() else next((s for s, (word, _) in CODES.items() if word == code), 400)
        return self.failed(status) if status in CODES else self._plain(status, "Processing failed")

    def hold_back(self, request: Request, *, reading: bool) -> Response | None:
        """A proxy's 502."""
        lost = self.faults.bad_gateway.hit(self.rngs["read"])
        return PlainTextResponse("502 Bad Gateway", 502) if lost else None

    @property
    def signs(self) -> bool:
        """Only with a secret configured."""
        return self.faults.signing_secret is not None

    def seal(self, message: Message, at: datetime, *, forged: bool = False) -> dict[str, str]:
        """The timestamp always, in the form of the page's sample; the signature only with a secret (§4.4)."""
        stamp, secret = second_stamp(at), self.faults.signing_secret
        if secret is None:
            return {"X-Webhook-Timestamp": stamp}
        signature = timestamped("forged" if forged else secret, stamp, message.body)
        return {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": signature}

    # Routes

    async def upload(self, request: Request) -> Response:
        """Multipart `file`; nothing of it is kept."""
        data = await request.body()
        named = re.search(rb'filename="([^"\r\n]+)"', data[:4096])
        name = named[1].decode("utf-8", "replace") if named else ""
        if not name.lower().endswith((".mp4", ".mov", ".webm", ".avi")):
            return self._plain(400, "Invalid file type")
        video = f"video_{len(self.requests):08x}"
        shown = {"success": True, "video_id": video, "video_url": f"{self.public_url()}/videos/{video}/{name}"}
        return answer(shown | {"filename": name, "size": len(data)})

    async def submit(self, request: Request) -> Response:
        """A job, or a draft with `auto_start: false`."""
        body = await self.object_of(request)
        if not body.get("video_url") or not isinstance(body["video_url"], str):
            raise Refused(self._error(400, "invalid_request", "video_url is required"))
        self._check(body)
        self.admit(body)
        job_id = "job_" + self.new_name(string.ascii_lowercase + string.digits, 12)
        task = self.draft(job_id, "video", body, body.get("webhook_url"))
        if body.get("auto_start") is False:
            task.phase = "draft"
        self._line_up(task)
        self.keep(task)
        message = "Job created" if task.phase == "draft" else "Job started"
        return answer({"success": True, "id": task.id, "status": self.word_of(task), "message": message})

    async def start_job(self, request: Request) -> Response:
        """Begin a draft, or a failed job once more under the same id (§4.3). Others: not documented, here a 400."""
        task = self.found(request.path_params["id"])
        body = await self.object_of(request) if await request.body() else {}
        self._check(body)
        if task.phase not in ("draft", "failed"):
            raise Refused(self._error(400, "invalid_request", f"Job is already {self.word_of(task)}"))
        script = self.script_of(body)
        self.admit(body)
        task.request |= {key: value for key, value in body.items() if key in START_FIELDS}
        task.callback_url = task.request.get("webhook_url")
        task.script = script
        self._line_up(task)
        self.world.begin(task, self.clock.now())
        return answer({"success": True, "id": task.id, "status": self.word_of(task), "message": "Job started"})

    async def get_job(self, request: Request) -> Response:
        """The job."""
        return answer(self._job(self.found(request.path_params["id"])))

    async def list_jobs(self, request: Request) -> Response:
        """`limit`, `offset`, `status`; the envelope is a knob."""
        status = request.query_params.get("status")
        tasks = [t for t in self.world.newest_first(self.clock.now()) if status in (None, "", self.word_of(t))]
        limit, offset = number_in(request, "limit", 20, 1, 100), number_in(request, "offset", 0, 0, 10**8)
        jobs = [self._job(task) for task in tasks[offset : offset + limit]]
        return answer(jobs if self.faults.listing == "bare" else {self.faults.listing: jobs, "total": len(tasks)})

    async def download(self, request: Request) -> Response:
        """A fresh URL, for anyone who knows the id (§4.9)."""
        task = self.found(request.path_params["id"])
        if task.phase != "succeeded":
            return self._plain(400, "Job not completed")
        shown = {"success": True, "download_url": self._output_url(task)}
        return answer(shown | {"output_format": task.request.get("output_format", "webm")})

    async def usage(self, request: Request) -> Response:
        """Only its path and `days` are documented."""
        done = [task for task in self.world.tasks.values() if task.phase == "succeeded"]
        days = number_in(request, "days", 30, 1, 90)
        return answer({"success": True, "days": days, "total_jobs": len(self.world.tasks), "completed": len(done)})

    async def usage_events(self, request: Request) -> Response:
        """Only its path and `limit` are documented."""
        limit = number_in(request, "limit", 20, 1, 100)
        shown = [{"job_id": t.id, "status": self.word_of(t)} for t in self.world.newest_first(self.clock.now())]
        return answer({"success": True, "events": shown[:limit]})

    async def pricing(self, request: Request) -> Response:
        """§4.2."""
        return answer({"model_pricing_credits_per_minute": PER_MINUTE, "price_per_second_cents": 1, "packages": []})

    async def health(self, request: Request) -> Response:
        """Its body is not documented."""
        return answer({"status": "ok"})

    # Shapes

    def messages(self, task: Task, what: str) -> Iterator[Message]:
        """`job.started`, `job.completed`, `job.failed`: in a header; the body takes the shape of the knob."""
        event = EVENTS.get(task.phase if what == "ended" else what)
        if event is not None:
            delivery = str(uuid.UUID(int=task.rng.getrandbits(128), version=4))
            headers = {"X-Webhook-Event": event, "X-Webhook-Delivery-Id": delivery}
            yield Message(event, self._event_body(task, event), delivery, headers)

    def _event_body(self, task: Task, event: str) -> bytes:
        url = self._output_url(task) if task.phase == "succeeded" else None
        job: dict[str, Any] = {"id": task.id, "status": self.word_of(task), "output_url": url}
        if task.error is not None:
            job["error"] = task.error
        shape = self.faults.body
        if shape == "mixed":
            shape = task.rng.choice(("wrapped", "flat", "id", "job_id", "empty"))
        shapes: dict[str, object] = {
            "wrapped": {"event": event, "data": job},  # what the vendor's n8n template reads: assumed
            "flat": job,
            "id": {"id": task.id},
            "job_id": {"job_id": task.id, "status": job["status"]},
        }
        return encode(shapes[shape]) if shape in shapes else b""

    def remember(self, task: Task, line: dict[str, Any]) -> None:
        """`webhook_events`: `sent` or `failed`, per event."""
        if line["outcome"] in ("delivered", "exhausted", "refused", "stopped"):
            delivered = line["outcome"] == "delivered"
            task.told = task.told | {line["event"]["event"]: "sent" if delivered else "failed"}

    def _job(self, task: Task) -> dict[str, Any]:
        return {
            "id": task.id,
            "status": self.word_of(task),
            "progress": task.progress,
            "output_url": self._output_url(task) if task.phase == "succeeded" else None,
            "error": task.error,
            "created_at": second_stamp(task.created_at),
            "duration_seconds": 12.3 if task.phase == "succeeded" else None,
            "billing_status": BILLING.get(task.phase, "pending"),
            "webhook_url": task.callback_url,
            "webhook_events": task.told,
        }

    def _output_url(self, task: Task) -> str:
        return self.file_url(task, task.files[0])

    def _line_up(self, task: Task) -> None:
        task.facts["queue"] = 0.3 if self.faults.backlog.hit(task.rng) else 0.0

    def _check(self, body: dict[str, Any]) -> None:
        for field, words in CHOICES.items():
            if body.get(field) is not None and body[field] not in words:
                raise Refused(self._error(400, "invalid_request", f"{field} must be one of {', '.join(words)}"))
        url = body.get("webhook_url")
        if url is not None and not is_web_url(url, allow_http=self.faults.allow_http):
            raise Refused(self._error(400, "invalid_request", "webhook_url must be an HTTPS URL"))

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
        error = {"code": code, "message": message, "request_id": f"req_{100000 + len(self.requests)}"}
        return answer({"error": error}, status, headers)

    def _plain(self, status: int, message: str) -> Response:
        """The page lists these without a code (§4.7); their shape is not documented."""
        match self.faults.plain_errors:
            case "text":
                return PlainTextResponse(message, status)
            case "envelope":
                return self._error(status, "not_found" if status == 404 else "invalid_request", message)
            case field:
                return answer({field: message}, status)


def _files(task: Task) -> list[File]:
    form = task.request.get("output_format", "webm")
    return [File(task.id, "output", f"output.{'zip' if form == 'png_sequence' else form}")]


running_removebgvideo = opener(RemovebgvideoSandbox)
