"""Kling's tasks (UPSTREAMS §5.6): unsigned deliveries of every change, an envelope around answers, keys that sign JWTs.

`api_key` is the account's secret key and `options.access_key` its access key: each request then carries a token signed
with them, good for half an hour. Without `access_key`, `api_key` is sent as it is. Where to ask depends on the
interface: `options.path` of the source, or the locator `{"path": "videos/text2video"}` of a workflow.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import (
    Account,
    CredentialsRefused,
    Habits,
    Inbound,
    Page,
    Probe,
    Request,
    Response,
    Unreadable,
    UpstreamBusy,
    UpstreamGone,
    UpstreamRefused,
)
from receiver.providers.fields import rows, text, word
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import from_unix
from receiver.providers.jsonbody import as_object, parse_object
from receiver.providers.kling_errors import ERRORS
from receiver.providers.lacking import Lacking
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import MAX_FILES, file_at, submitted, web_url
from receiver.providers.windows import paged, windowed

_OK = frozenset({200})
_HOOK = "callback_url"
_PAGE = 100  # of 1 to 500
_TOKEN_LIVES = timedelta(minutes=30)
_EARLIER = timedelta(seconds=5)  # as Kling's own example has it, for clocks that differ
# "Generated images/videos will be cleared after 30 days" [doc: API specification].
_MEDIA_LIVES = timedelta(days=30)
_PATH = re.compile(r"[a-z0-9][a-z0-9-]{0,63}(/[a-z0-9][a-z0-9-]{0,63}){1,3}", re.ASCII)
_REFUSED_KEYS = frozenset(range(1000, 1005))
_NO_SUCH = 1203
_BUSY = frozenset({1302, 1303, 5000, 5001, 5002})

STATUSES: dict[str, Status] = {
    "submitted": Status.SCHEDULED,
    "processing": Status.PROCESSING,
    "succeed": Status.SUCCEEDED,  # as Kling spells it
    "failed": Status.FAILED,
}


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Kling(Lacking):
    """The provider `kling`; implements `receiver.providers.base.Provider`.

    `clock` is what tokens are dated with: no request of the Protocol brings the time along.
    """

    name = "kling"
    habits = Habits(
        poll=(10, 20, 30),  # not documented; videos take minutes
        silence=timedelta(minutes=3),
        deadline=timedelta(hours=1),
        retry_horizon=timedelta(minutes=1),  # whether anything is tried again is not documented
        default_base_url="https://api-singapore.klingai.com",
        blob_hosts=(),
        locator=("path",),
        trusts=(Trust.TOKEN, Trust.HINT, Trust.NONE),
    )

    errors = ERRORS

    def __init__(self, clock: Callable[[], datetime] = _utc_now) -> None:
        self._clock = clock

    def account_problem(self, account: Account) -> str | None:
        """Say which option cannot be right (`Particular`)."""
        path, access = account.options.get("path"), account.options.get("access_key")
        if path is not None and _path(path) is None:
            return 'options.path must be the interface below /v1, such as "videos/text2video"'
        if access is not None and not text(access):
            return "options.access_key must be the account's access key; its secret key is api_key"
        if access is not None and not account.api_key:
            return "options.access_key needs api_key, the account's secret key, to sign with"
        return None

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the URL's token; raise BadSignature when it is missing or wrong (R9)."""
        check_proofs(inbound, account, self.habits.trusts)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a delivery: the task. Raises Unreadable. A success without its files asks for a look."""
        document = parse_object(inbound.body)
        inner = document.get("data")
        # Not documented, but so answers are written: the task below `data`.
        task = inner if document.get("task_id") is None and type(inner) is dict else document
        return _read(task, checked(task.get("task_id"), "task_id"))

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read `{code, message, request_id, data}` or the task by itself, and/or the request. Raises Unreadable."""
        return submitted(answer, request, _read_answer, _described, _HOOK)

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GET /v1/{path}/{id}. Raises UpstreamRefused when nobody told the interface."""
        path = _path(locator.get("path")) or _path(account.options.get("path"))
        if path is None:
            message = "which interface this task belongs to is not known; track it with the locator `path`, such as "
            raise UpstreamRefused(message + '"videos/text2video", or set options.path of the source', status=0)
        return self._get(account, f"/v1/{path}/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the task in its envelope: a snapshot. A code other than 0 raises by what it means."""
        task = as_object(_opened(response, account))
        if checked(task.get("task_id"), "the task's id") != workflow_id:
            raise Unreadable("upstream answered with another task than the one asked for")
        return _read(task, workflow_id, snapshot=True)

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """List the tasks of `options.path`, None without it: each interface lists its own."""
        path = _path(account.options.get("path"))
        if path is None:
            return None
        return windowed(self._get(account, f"/v1/{path}", {"pageNum": "1", "pageSize": str(_PAGE)}), since, until)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read a page of tasks. There is no word on whether it is the last: a full one is taken not to be."""
        items = _opened(response, account)
        if type(items) is not list:
            raise Unreadable("the list of tasks has no list in `data`")
        given = parse_qs(urlsplit(asked.url).query).get("pageNum", ["1"])[0]
        number = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 1
        return paged(asked, items, _read_listed, {"pageNum": str(number + 1)} if len(items) >= _PAGE else None)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """One task of `options.path`, where the source names it."""
        path = _path(account.options.get("path"))
        if path is None:
            return ()
        return (Probe("list one task", self._get(account, f"/v1/{path}", {"pageNum": "1", "pageSize": "1"})),)

    def _get(self, account: Account, path: str, query: dict[str, str] | None = None) -> Request:
        headers = {"accept": "application/json"}
        access = text(account.options.get("access_key"))
        if account.api_key:
            token = web_token(access, account.api_key, self._clock()) if access else account.api_key
            headers["authorization"] = f"Bearer {token}"
        url = account.base_url.rstrip("/") + path
        return Request("GET", f"{url}?{urlencode(query)}" if query else url, headers)


def web_token(access_key: str, secret_key: str, now: datetime) -> str:
    """Return a JWT (RFC 7519, HS256) that proves an account for half an hour from `now` [doc: General Information]."""
    claims = {
        "iss": access_key,
        "exp": int((now + _TOKEN_LIVES).timestamp()),
        "nbf": int((now - _EARLIER).timestamp()),
    }
    signed = b".".join(_unpadded(orjson.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.new(secret_key.encode(), signed, hashlib.sha256).digest()
    return b".".join((signed, _unpadded(signature))).decode()


def _unpadded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _path(value: Any) -> str | None:
    """Return an interface's path below /v1, None when it is none. A pasted `/v1/videos/text2video` will do."""
    found = value.strip("/").removeprefix("v1/") if type(value) is str else ""
    return found if _PATH.fullmatch(found) else None


def _opened(response: Response, account: Account) -> Any:
    """Return what is in an answer's envelope; raise by fault for a code that tells one inside a 200."""
    document = answered(response, account, _OK)
    code = document.get("code")
    if type(code) is int and code != 0:
        sentence = f"upstream answered {response.status} with code {code}"
        if code in _REFUSED_KEYS:
            raise CredentialsRefused(sentence)
        if code == _NO_SUCH:
            raise UpstreamGone(sentence)
        if code in _BUSY:
            raise UpstreamBusy(sentence, status=response.status)
        raise UpstreamRefused(sentence, status=response.status)
    if "data" not in document:
        raise Unreadable("the answer has no `data`")
    return document["data"]


def _read(task: JsonObject, workflow_id: str, *, snapshot: bool = False) -> Reading:
    found = _observed(task)
    blobs = _blobs(task, workflow_id, found) if workflow_id else ()
    bare = found.status is Status.SUCCEEDED and not blobs
    return Reading(
        workflow_id,
        (found,),
        blobs,
        snapshot=snapshot,
        complete=snapshot,
        needs_look=not snapshot and (found.status is None or bare),
    )


def _observed(task: JsonObject) -> Observation:
    status = word(task, "task_status", "the task's status")
    meaning = STATUSES.get(status) if status else None
    changed = _from_ms(task.get("updated_at"))
    about = task.get("task_info")
    told = about.get("external_task_id") if type(about) is dict else None
    found: JsonObject = {"external_id": told} if text(told) else {}
    units = task.get("final_unit_deduction")
    if type(units) in (str, int, float):
        found["usage"] = {"final_unit_deduction": units}
    message = text(task.get("task_status_msg"))
    if meaning is Status.FAILED and message is not None:
        found["error"] = {"message": message}
    return Observation(
        Level.WORKFLOW,
        status=meaning,
        word=status,
        upstream_at=changed,
        # The last change of a task that has ended is its end.
        completed_at=changed if meaning is not None and meaning.terminal else None,
        submitted_at=_from_ms(task.get("created_at")),
        facts=found,
    )


def _blobs(task: JsonObject, workflow_id: str, found: Observation) -> tuple[BlobSeen, ...]:
    """The lists of files in `task_result`: `images`, `videos` and the like. A slot is the list's name and the place."""
    result = task.get("task_result")
    until = None if found.completed_at is None else found.completed_at + _MEDIA_LIVES
    seen: list[BlobSeen] = []
    for name, listed in result.items() if type(result) is dict else ():
        for place, each in enumerate((rows(listed) or [])[:MAX_FILES]):
            url, index = web_url(each.get("url")), each.get("index")
            slot = f"{name}.{index if type(index) is int else place}"
            if url is not None and is_id(f"{workflow_id}~{slot}"):
                seen.append(file_at(workflow_id, slot, url, media_expires_at=until))
    return tuple({blob.id: blob for blob in seen[:MAX_FILES]}.values())


def _from_ms(value: Any) -> datetime | None:
    """The instant of Unix milliseconds."""
    if type(value) is not int or value < 0:
        return None
    whole = from_unix(value // 1000)
    return None if whole is None else whole + timedelta(milliseconds=value % 1000)


def _read_listed(item: Any) -> Reading:
    task = as_object(item)
    return _read(task, checked(task.get("task_id"), "a task's id"), snapshot=True)


def _read_answer(document: JsonObject) -> Reading:
    inner = document.get("data")
    task = inner if type(inner) is dict else document
    given = task.get("task_id")
    return _read(task, "" if given is None else checked(given, "the answer's task_id"))


def _described(request: JsonObject) -> JsonObject:
    found: JsonObject = {"model": request["model_name"]} if text(request.get("model_name")) else {}
    path = _path(request.get("path"))
    return {**found, "locator": {"path": path}} if path is not None else found
