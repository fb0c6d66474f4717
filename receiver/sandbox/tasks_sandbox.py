"""A stand-in for an upstream whose workflows are single tasks: what it tells, whom, and who lies in its name.

A submit may carry a script under the key `sandbox`, which no upstream has: `end` (succeeded, failed, expired,
canceled), `code` and `message` of its error, `seconds`, `hold` (never ends by itself), `oddWord`, and `refuse` (a code
of upstream's error table: the submit is answered with it).
"""

from __future__ import annotations

import abc
import dataclasses
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.sandbox.clock import stamp, stamp_or_none
from receiver.sandbox.deliveries import Envelope, with_token
from receiver.sandbox.engine import Engine
from receiver.sandbox.faults import seeded
from receiver.sandbox.gateway import retry_after
from receiver.sandbox.tasks_faults import TaskFaults
from receiver.sandbox.tasks_records import CANONICAL, ENDED, File, Task
from receiver.sandbox.tasks_world import Habits, TaskWorld

FORGED_HOST = "https://forged.example.invalid"


class Refused(Exception):
    """A request that upstream does not grant; `response` is what it says instead."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"answered with {response.status_code}")
        self.response = response


@dataclass(frozen=True, slots=True)
class Message:
    """One callback before it has an address. `delivery` is its identity, where upstream gives it one; `after` seconds
    (before `--speed`) it leaves; `once`: never tried again."""

    event: str
    body: bytes
    delivery: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    once: bool = False


class TaskSandbox(Engine):
    """Subclasses say in upstream's words what a task, an error and a callback look like."""

    faults_type: ClassVar[type[TaskFaults]]
    words: ClassVar[dict[str, str]]
    faults: TaskFaults
    world: TaskWorld

    def __init__(self, faults: TaskFaults) -> None:
        super().__init__(faults)
        self.world = TaskWorld(faults, self.habits(), self._on_change)
        self._lied_about: set[str] = set()

    # What each upstream says for itself

    @abc.abstractmethod
    def habits(self) -> Habits:
        """How its tasks go."""

    @abc.abstractmethod
    def routes(self) -> list[BaseRoute]:
        """Its API."""

    @abc.abstractmethod
    def let_in(self, request: Request) -> bool:
        """Whether the request brings the key in upstream's way."""

    @abc.abstractmethod
    def failed(self, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """Upstream's own shape of 400, 401, 402, 404, 429, 500 and 503."""

    @abc.abstractmethod
    def messages(self, task: Task, what: str) -> Iterator[Message]:
        """The callbacks that tell of a change: `created`, `started`, `progress` or `ended`."""

    def refusal(self, code: str) -> Response:
        """The answer to a submit for one code of upstream's table; a number is an HTTP status."""
        return self.failed(int(code) if code.isdecimal() else 400)

    def seal(self, message: Message, at: datetime, *, forged: bool = False) -> dict[str, str]:
        """The signature headers of a callback sent at `at`; with a key that is not ours when `forged`."""
        return {}

    @property
    def signs(self) -> bool:
        """Whether callbacks are signed."""
        return False

    def hold_back(self, request: Request, *, reading: bool) -> Response | None:
        """What a request with the right key is answered instead, if upstream limits the pace."""
        return None

    def address(self, task: Task) -> str | None:
        """Where a task's callbacks go."""
        return task.callback_url

    def word_of(self, task: Task) -> str:
        """Upstream's status word."""
        return task.word or self.words[task.phase]

    # What their routes share

    def curl(self, path: str, body: str, header: str = "Authorization: Bearer") -> str:
        """A command that posts `body` with the key behind `header`."""
        return f"curl -H '{header} {self.faults.api_key}' -d '{body}' {self.base_url}{path}"

    def is_key(self, given: str) -> bool:
        """Whether that is the account's key."""
        return hmac.compare_digest(given.strip().encode(), self.faults.api_key.encode())

    def is_bearer(self, request: Request, scheme: str = "bearer") -> bool:
        """Whether the `Authorization` header brings the account's key."""
        given, _, token = request.headers.get("authorization", "").partition(" ")
        return given.lower() == scheme and self.is_key(token)

    def found(self, task_id: str) -> Task:
        """The task, or upstream's 404."""
        task = self.world.visible(task_id, self.clock.now())
        if task is None:
            raise Refused(self.failed(404))
        return task

    async def object_of(self, request: Request) -> dict[str, Any]:
        """The JSON object of the body, or upstream's 400."""
        try:
            value = json.loads(await request.body())
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(self.failed(400))
        return value

    def script_of(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the body's `sandbox` says, if it is an object; a 400 for an end upstream does not know."""
        script = body.get("sandbox")
        if not isinstance(script, dict):
            return {}
        if script.get("end", "succeeded") not in self.words:
            raise Refused(self.failed(400))
        return dict(script)

    def admit(self, body: dict[str, Any]) -> None:
        """Refuse a submit where a knob, its script or the account's credits say so."""
        faults, rng = self.faults, self.rngs["submit"]
        if faults.submit_429.hit(rng):
            raise Refused(self.failed(429, retry_after(faults)))
        if faults.submit_503.hit(rng):
            raise Refused(self.failed(503, retry_after(faults)))
        if refuse := self.script_of(body).get("refuse"):
            raise Refused(self.refusal(str(refuse)))
        if faults.credits is not None:
            if faults.credits < 1:
                raise Refused(self.failed(402))
            faults.credits -= 1

    def draft(self, task_id: str, type_: str, body: dict[str, Any], callback_url: str | None) -> Task:
        """A task that is not kept yet."""
        number, script = len(self.world.tasks) + 1, self.script_of(body)
        request = {key: value for key, value in body.items() if key != "sandbox"}
        rng = seeded(self.faults.seed, "task", number)
        return Task(task_id, number, type_, request, callback_url, self.clock.now(), rng, script)

    def keep(self, task: Task) -> None:
        """It exists from now on; whether the caller learns that is another matter (`submit_500`)."""
        self.world.add(task, self.clock.now())
        self.catch_up()
        if self.faults.submit_500.hit(self.rngs["submit"]):
            raise Refused(self.failed(500))

    def new_name(self, alphabet: str, length: int) -> str:
        """Characters for the next task's id; the same seed gives the same ones."""
        return "".join(seeded(self.faults.seed, "id", len(self.world.tasks)).choices(alphabet, k=length))

    def file_url(self, task: Task, file: File) -> str:
        """A URL of an output that works for `url_ttl`, from now or from the task's end (knob `resign`)."""
        since = self.clock.now() if self.faults.resign or task.ended_at is None else task.ended_at
        query, _ = self.signer.query(file.path, since, self.faults.url_ttl)
        return f"{file.host or self.public_url()}/files/{file.path}?{query}"

    def files_left(self, task: Task) -> bool:
        """Whether upstream still has the outputs."""
        return self.world.is_visible(task, self.clock.now())

    # What the control surface shows and does

    def truths(self) -> list[dict[str, Any]]:
        """Like Civitai's, but no steps. `status` is upstream's word, `canonical` our own; `run` counts starts."""
        return [self._truth_of(task) for task in self.world.tasks.values()]

    def _truth_of(self, task: Task) -> dict[str, Any]:
        error = None if task.error is None else {"code": task.error_code, "message": task.error}
        return {
            "id": task.id,
            "external_id": task.key,
            "status": self.word_of(task),
            "canonical": CANONICAL.get(task.phase, task.phase),
            "settled": task.ended,
            "visible": self.world.is_visible(task, self.clock.now()),
            "ephemeral": False,
            "created_at": stamp(task.created_at),
            "started_at": stamp_or_none(task.started_at),
            "ended_at": stamp_or_none(task.ended_at),
            "deleted_at": None,
            "callbacks": int(self.address(task) is not None),
            "run": task.run,
            "past_runs": task.past,
            "progress": task.progress,
            "error": error,
            "steps": [],
            "blobs": [self._true_file(task, file) for file in task.files],
        }

    def _true_file(self, task: Task, file: File) -> dict[str, Any]:
        left = self.files_left(task)
        blob = {"id": f"{task.id}~{file.slot}", "slot": file.slot, "name": file.name, "step": None, "job_id": None}
        return blob | {"available": left, "gone": not left, "blocked_reason": None}

    def finish(self, workflow_id: str, status: str = "succeeded", reason: str | None = None) -> None:
        """End it now; `reason` is the error's code where upstream's table has it, else its message."""
        ends = [phase for phase in ENDED if phase in self.words]
        if status not in ends:
            raise ValueError(f"the status is one of {', '.join(ends)}")
        task, codes = self.world.tasks[workflow_id], {code for code, _ in self.habits().failures}
        code, message = (reason, None) if reason in codes else (None, reason)
        self.world.finish(task, self.clock.now(), status, code, message)

    def purge(self, wanted: Mapping[str, Any]) -> None:
        """See Engine; a file goes with its task."""
        self.world.tasks[str(wanted.get("workflow") or wanted.get("blob")).partition("~")[0]].purged = True

    # Callbacks

    def record_callback(self, line: dict[str, Any]) -> None:
        """Keep the line, and let upstream remember how its callback fared."""
        super().record_callback(line)
        task = self.world.tasks.get(line["event"]["workflow"])
        if task is not None and not (line["copy"] or line["forged"]):
            self.remember(task, line)

    def remember(self, task: Task, line: dict[str, Any]) -> None:
        """What upstream shows of its callbacks, where it shows anything."""
        task.told = {key: line[key] for key in ("outcome", "attempt", "status", "error")}

    def _on_change(self, task: Task, what: str) -> None:
        url = self.address(task)
        if url is None:
            return
        for message in self.messages(task, what):
            self.post.post(self._envelope(task, url, message))
            self._forge(task, url, message)
        self._forge_ending(task, url, what)

    def _envelope(self, task: Task, url: str, message: Message, forged: str | None = None) -> Envelope:
        label = {"level": "workflow", "workflow": task.id, "step": None, "job": None, "status": self.word_of(task)}
        delay = message.after / self.faults.speed
        envelope = Envelope(
            task.id,
            url,
            message.body,
            label | {"event": message.event},
            message.headers,
            once=message.once,
            delay=delay,
            number=task.number,
        )
        if forged is not None:
            return dataclasses.replace(envelope, forged=forged, headers=message.headers)
        return dataclasses.replace(envelope, sign=lambda: self.seal(message, self.clock.now()))

    def _forge(self, task: Task, url: str, message: Message) -> None:
        rng = self.rngs["forge"]
        if not self.faults.forge.hit(rng):
            return
        kinds = ["wrong-signature", "no-signature", "stale-signature", "other-body"] if self.signs else []
        if not self.signs or "token" in dict(parse_qsl(urlsplit(url).query)):
            kinds += ["wrong-token", "missing-token"]
        kind, now = rng.choice(kinds), self.clock.now()
        if kind == "stale-signature":
            seal = self.seal(message, now - timedelta(hours=1))
            replay = dataclasses.replace(message, headers=message.headers | seal)
            self.post.post_forged(self._envelope(task, url, replay, kind))
            return
        invented = rng.random() < 0.3 and kind != "other-body"
        lie_id = task.id[:-6] + f"{rng.randrange(10**6):06d}" if invented else task.id
        if kind.endswith("token"):
            url = with_token(url, "forged" if kind == "wrong-token" else None)
        seal = self.seal(message, now) if kind == "other-body" else {}
        self._post_lie(task, lie_id, url, rng.choice(("succeeded", "failed")), kind, seal)

    def _forge_ending(self, task: Task, url: str, what: str) -> None:
        """With the right token, if there is one. A signature nobody can forge, so where there is one it is wrong."""
        if what == "started" and task.id not in self._lied_about:
            self._lied_about.add(task.id)
            if self.faults.forge_ending.hit(self.rngs["forge_ending"]):
                succeeds = bool(task.plan) and task.plan[-1].phase == "succeeded"
                self._post_lie(task, task.id, url, "failed" if succeeds else "succeeded", "ending", {})

    def _post_lie(self, task: Task, lie_id: str, url: str, phase: str, kind: str, seal: dict[str, str]) -> None:
        """A well-formed ending that is not true, with outputs that lead astray."""
        at = self.clock.now()
        lie = dataclasses.replace(task, id=lie_id, phase=phase, word=None, ended_at=at, modified_at=at)
        lie.rng, lie.started_at, lie.files = self.rngs["forge"], task.started_at or at, []
        lie.progress = 100 if phase == "succeeded" else task.progress
        if phase == "succeeded":
            lie.files = [dataclasses.replace(file, host=FORGED_HOST) for file in self.habits().files(lie)]
        else:
            lie.error_code, lie.error = self.habits().failures[0]
        for message in list(self.messages(lie, "ended"))[:1]:
            if self.signs and kind in ("ending", "wrong-signature"):
                seal = self.seal(message, at, forged=True)
            forged = dataclasses.replace(message, headers=message.headers | seal, after=0.0)
            self.post.post_forged(self._envelope(lie, url, forged, kind))
