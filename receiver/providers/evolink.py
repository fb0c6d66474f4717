"""EvoLink's unified task API (UPSTREAMS §3): one task, one unsigned callback whose body is the answer to GET.

Listing and batch are not in the public documentation but in code close to the vendor (E-cli): where upstream does not
have them after all, they are refused and single reads go on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson

from receiver.ledger.records import JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.advice import Fault
from receiver.providers.answers import answered
from receiver.providers.base import (
    Account,
    Habits,
    Inbound,
    Page,
    Probe,
    Request,
    Response,
    Unreadable,
    UpstreamRefused,
)
from receiver.providers.envelopes import read_fault
from receiver.providers.evolink_errors import ERRORS
from receiver.providers.fields import Names, facts, percent, rows, text, word
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import from_unix, instant
from receiver.providers.jsonbody import as_object, parse, parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import error_fact, file_at, files, submitted
from receiver.providers.windows import paged, windowed

_OK = frozenset({200})
_NO_SUCH_ROUTE = frozenset({404, 405, 501})
_TASKS = "/v1/tasks"
_BATCH = 50  # ids in one read [E-cli]
_PAGE = 50
_HOOK = "callback_url"
_PREFIX = "task-unified-"
_MADE_AT = re.compile(_PREFIX + r"(\d{10})-", re.ASCII)

# "Links are valid for 24 hours"; from when is not documented, and no instant but `created` is ever told. Generation
# takes minutes, so counting from there errs by those, on the early side, and never moves however often we look.
_MEDIA_LIVES = timedelta(hours=24)

STATUSES: dict[str, Status] = {
    "pending": Status.SCHEDULED,
    "processing": Status.PROCESSING,
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
    # Not in the documented enum, but in the description of `callback_url` (UPSTREAMS §3.2).
    "cancelled": Status.CANCELED,
}

_NAMES: Names = {
    "model": ("model", (str,)),
    "usage": ("usage", (dict,)),
    "metadata": ("metadata", (dict,)),
    "type": ("media_type", (str,)),
}
_TAKEN = frozenset({"id", "status", "progress", "results", "error", "created", "created_at", _HOOK})


class EvoLink(Lacking):
    """The provider `evolink`. Stateless; implements `receiver.providers.base.Provider`.

    No link is renewed by itself: a look shows a task's links again.
    """

    name = "evolink"
    habits = Habits(
        # Each read of an unfinished task makes the gateway ask the model's provider: 8 s suits the slowest kind, video
        # [E-cli].
        poll=(8, 8, 15, 30, 60),
        silence=timedelta(minutes=3),
        deadline=timedelta(minutes=30),
        # One try and three more after 1, 2 and 4 s, 10 s each [doc: webhooks].
        retry_horizon=timedelta(seconds=47),
        default_base_url="https://api.evolink.ai",
        blob_hosts=(),  # files.evolink.ai, and others per model (UPSTREAMS §3.4)
        trusts=(Trust.TOKEN, Trust.HINT, Trust.NONE),  # nothing is signed
        bulk_size=_BATCH,
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the URL's token; raise BadSignature when it is missing or wrong (R9)."""
        check_proofs(inbound, account, self.habits.trusts)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a callback: the task, as GET answers it [doc: model pages]. Raises Unreadable.

        A success without results, a failure without its error (as in one documented sample) and an unknown status ask
        for a look.
        """
        document = parse_object(inbound.body)
        return _read_task(document, checked(document.get("id"), "id"), snapshot=False)

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read the answer to a submission, which is the task, and/or the request. Raises Unreadable."""
        return submitted(answer, request, _read_answer, _described, _HOOK)

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask for one task. Raises UpstreamRefused for an id that upstream answers 400 to: it need not be asked."""
        if not workflow_id.startswith(_PREFIX):
            raise UpstreamRefused(f"the id is no EvoLink task: those begin with '{_PREFIX}'", status=400)
        return _ask(account, f"{_TASKS}/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the task. Its results are links to files; whether they are signed anew is not documented."""
        document = answered(response, account, _OK)
        if checked(document.get("id"), "the task's id") != workflow_id:
            raise Unreadable("upstream answered with another task than the one asked for")
        return replace(_read_task(document, workflow_id, snapshot=True), needs_look=False)

    def bulk_status(self, workflow_ids: Sequence[str], account: Account) -> Request | None:
        """Ask for up to 50 tasks at once [E-cli]; None when none of the ids can be a task's. Of more, the first 50."""
        wanted = [one for one in workflow_ids if one.startswith(_PREFIX) and is_id(one)][:_BATCH]
        if not wanted:
            return None
        asked = _ask(account, f"{_TASKS}/batch")
        headers = {**asked.headers, "content-type": "application/json"}
        return Request("POST", asked.url, headers, orjson.dumps({"task_ids": wanted}))

    def read_bulk(self, response: Response, account: Account) -> tuple[Reading, ...]:
        """Read `{"data": [task]}`. Raises UpstreamRefused where there is no such route: then tasks are read singly."""
        if response.status in _NO_SUCH_ROUTE:
            message = f"upstream answered {response.status}: it has no batch of tasks"
            raise UpstreamRefused(message, status=response.status)
        tasks = rows(answered(response, account, _OK).get("data"))
        if tasks is None:
            raise Unreadable("the batch of tasks has no `data`")
        readings: list[Reading] = []
        for task in tasks:
            try:
                readings.append(_read_task(task, checked(task.get("id"), "a task's id"), snapshot=True))
            except Unreadable:
                continue
        return tuple({reading.workflow_id: reading for reading in readings}.values())

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """List tasks by page [E-cli]. There is no filter by time: paging stops where the window begins."""
        return windowed(_ask(account, _TASKS, {"page": "1", "page_size": str(_PAGE)}), since, until)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read `{"data": [...], "total", "page", "page_size"}`. No links are in it: what has ended wants a look."""
        if response.status in _NO_SUCH_ROUTE:
            message = f"upstream answered {response.status}: it has no list of tasks"
            raise UpstreamRefused(message, status=response.status)
        document = answered(response, account, _OK)
        items = document.get("data")
        if type(items) is not list:
            raise Unreadable("the list of tasks has no `data`")
        query = parse_qs(urlsplit(asked.url).query)
        page = _number(query.get("page", ["1"])[0]) or 1
        size = document.get("page_size")
        size = size if type(size) is int and size > 0 else _PAGE
        total = document.get("total")
        more = page * size < total if type(total) is int else len(items) >= size
        return paged(asked, items, _read_listed, {"page": str(page + 1)} if more else None)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """One listing of one task: it needs the key and nothing else, and costs no model's provider a read."""
        return (Probe("list one task", _ask(account, _TASKS, {"page": "1", "page_size": "1"})),)

    def read_error(self, http: int, body: bytes) -> Fault:
        """Read `{"error": {"code", "message", "type", "param"?}}`, or the files API's `{success, code, msg}`.

        A code that is only the HTTP status as a number gives way to `type`, or to nothing: the status says it already.
        """
        fault = read_fault(body)
        if fault.code is None or not fault.code.isdecimal():
            return fault
        return Fault(_type(body), fault.message, fault.request_id, fault.fields)


def _ask(account: Account, path: str, query: dict[str, str] | None = None) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    url = account.base_url.rstrip("/") + path
    return Request("GET", f"{url}?{urlencode(query)}" if query else url, headers)


def _read_task(document: JsonObject, workflow_id: str, *, snapshot: bool) -> Reading:
    """Read a task. A status word alone decides: `failed` with `generation_timeout` has failed (DESIGN §9).

    A success without results is not all there is to know, nor is a failure without its error: a batch may leave them
    out as an event may, and both want a look. A success so shown is no complete snapshot.
    """
    found = _observed(document)
    made = found.submitted_at or _made_at(workflow_id)
    until = None if made is None else made + _MEDIA_LIVES
    links = files(document.get("results")) if workflow_id else ()
    blobs = tuple(file_at(workflow_id, slot, url, media_expires_at=until) for slot, url in links)
    bare = found.status is Status.SUCCEEDED and not blobs
    unexplained = found.status is Status.FAILED and "error" not in found.facts
    return Reading(
        workflow_id,
        (found,),
        blobs,
        snapshot=snapshot,
        complete=snapshot and not bare,
        needs_look=bare or unexplained or (found.status is None and not snapshot),
    )


def _observed(document: JsonObject) -> Observation:
    status = word(document, "status", "the task's status")
    found = facts(document, _NAMES, _TAKEN)
    error = error_fact(document.get("error"))
    if error is not None:
        found["error"] = error
    made = document.get("created")
    return Observation(
        Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        submitted_at=from_unix(made) or _either(document.get("created_at")),
        progress=percent(document.get("progress")),
        facts=found,
    )


def _read_listed(item: Any) -> Reading:
    """One item of the list: `has_results`, `has_error`, `credits_used`, no links [E-cli]."""
    document = as_object(item)
    workflow_id = checked(document.get("id"), "a task's id")
    found = _observed(document)
    ended = found.status is not None and found.status.terminal
    return Reading(workflow_id, (found,), snapshot=True, needs_look=ended)


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("id")
    return _read_task(document, "" if given is None else checked(given, "the answer's id"), snapshot=False)


def _described(request: JsonObject) -> JsonObject:
    model = text(request.get("model"))
    form = text(request.get("output_format"))
    return ({"model": model} if model else {}) | ({"output_format": form} if form else {})


def _either(value: Any) -> datetime | None:
    """`created_at` of a listed task: which of the two spellings it has is not documented."""
    return from_unix(value) or instant(value)


def _made_at(workflow_id: str) -> datetime | None:
    """The instant in `task-unified-<unix>-<8 characters>`."""
    match = _MADE_AT.match(workflow_id)
    return from_unix(match[1]) if match else None


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None


def _type(body: bytes) -> str | None:
    try:
        value = parse(body)
    except Unreadable:
        return None
    inner = value.get("error") if type(value) is dict else None
    return text(inner.get("type")) if type(inner) is dict else None
