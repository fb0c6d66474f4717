"""Kie.ai's tasks (UPSTREAMS §5.8; docs.kie.ai/market/common/get-task-detail): a signature that does not cover the body.

What is signed is the task's id and the time, so whoever has seen one delivery can send another about the same task:
with a signing secret alone a delivery is no more than a hint (R9). Models outside the market are asked about elsewhere:
`options.path` of the source, or the locator `{"path": "veo/record-info"}` of a workflow.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from receiver.ledger.records import JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import Account, BadSignature, Habits, Inbound, Probe, Request, Response, Unreadable
from receiver.providers.fields import MAX_WORD, NUMBER, text
from receiver.providers.ids import checked, is_id
from receiver.providers.instants import from_unix
from receiver.providers.jsonbody import as_object, parse, parse_object
from receiver.providers.kie_errors import ERRORS
from receiver.providers.lacking import Lacking
from receiver.providers.output_urls import files_in
from receiver.providers.schemes import KIE
from receiver.providers.signing import check_proofs, secrets_problem
from receiver.providers.tasks import submitted

_OK = frozenset({200})
_HOOK = "callBackUrl"
_MARKET = "jobs/recordInfo"
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}(/[A-Za-z0-9][A-Za-z0-9-]{0,63}){1,3}", re.ASCII)

STATUSES: dict[str, Status] = {
    "waiting": Status.SCHEDULED,
    "queuing": Status.SCHEDULED,
    "generating": Status.PROCESSING,
    "success": Status.SUCCEEDED,
    "fail": Status.FAILED,
}
# `successFlag`, in place of `state` outside the market [doc: veo3-api/get-veo-3-video-details].
_FLAGS = {0: "generating", 1: "success", 2: "fail", 3: "fail"}


class Kie(Lacking):
    """The provider `kie`. Stateless; implements `receiver.providers.base.Provider`."""

    name = "kie"
    habits = Habits(
        poll=(5, 10, 15, 30),
        silence=timedelta(minutes=3),
        deadline=timedelta(hours=1),
        retry_horizon=timedelta(minutes=5),  # not documented: a guess that only decides what counts as missed
        default_base_url="https://api.kie.ai",
        blob_hosts=(),
        locator=("path",),
        trusts=(Trust.TOKEN, Trust.HINT, Trust.NONE),
    )

    errors = ERRORS

    def account_problem(self, account: Account) -> str | None:
        """Say which option or signing secret cannot be right (`Particular`)."""
        path = account.options.get("path")
        if path is not None and _path(path) is None:
            return f'options.path must be an address below /api/v1, such as "{_MARKET}" or "veo/record-info"'
        return secrets_problem((KIE,), account)

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the URL's token and/or the signature over the task's id (R9); raise BadSignature."""
        subject = None
        if account.signing_secrets:
            try:
                subject = _id_of(_task_of(parse_object(inbound.body)))
            except Unreadable:
                raise BadSignature("the delivery names no task, and that is what would be signed") from None
        check_proofs(inbound, account, self.habits.trusts, (KIE,), subject=subject)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read `{code, msg, data}`. Raises Unreadable.

        Without a state in `data` it asks for a look: some models deliver several times, and `code` 200 is no ending.
        """
        document = parse_object(inbound.body)
        task = _task_of(document)
        return _read(task, _id_of(task))

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read `{code, msg, data: {taskId}}` and/or the request. Raises Unreadable."""
        return submitted(answer, request, _read_answer, _described, _HOOK)

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GET /api/v1/jobs/recordInfo?taskId=…, or the source's or workflow's own address."""
        path = _path(locator.get("path")) or _path(account.options.get("path")) or _MARKET
        query = urlencode({"taskId": checked(workflow_id, "the id")})
        return _get(account, f"/api/v1/{path}?{query}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read `{code, msg, data}`: a snapshot. A code that is an HTTP status raises as that status would."""
        document = answered(response, account, _OK)
        code = document.get("code")
        if type(code) is int and 400 <= code < 600 and code != 501:  # 501: the task has failed, and `data` says so
            answered(replace(response, status=code), account, frozenset())
        task = as_object(document.get("data"))
        if _id_of(task) != workflow_id:
            raise Unreadable("upstream answered with another task than the one asked for")
        return _read(task, workflow_id, snapshot=True)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """The account's credits, which need nothing but the key [doc: common-api/get-account-credits]."""
        return (Probe("read the credits", _get(account, "/api/v1/chat/credit")),)


def _get(account: Account, path: str) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    return Request("GET", account.base_url.rstrip("/") + path, headers)


def _path(value: Any) -> str | None:
    found = value.strip("/").removeprefix("api/v1/") if type(value) is str else ""
    return found if _PATH.fullmatch(found) else None


def _task_of(document: JsonObject) -> JsonObject:
    data = document.get("data")
    if type(data) is not dict:
        raise Unreadable("the body is no task of Kie.ai's: it needs `data`")
    return data


def _id_of(task: JsonObject) -> str:
    """Both spellings are in use [doc: common-api/webhook-verification]."""
    return checked(task.get("taskId") if task.get("taskId") is not None else task.get("task_id"), "the task's id")


def _read(task: JsonObject, workflow_id: str, *, snapshot: bool = False) -> Reading:
    told, flag = task.get("state"), task.get("successFlag")
    state = text(told) or (_FLAGS.get(flag) if type(flag) is int else None)
    state = state[:MAX_WORD] if state else None
    status = STATUSES.get(state) if state else None
    facts: JsonObject = {"model": task["model"]} if text(task.get("model")) else {}
    if type(task.get("costTime")) in NUMBER:
        facts["usage"] = {"costTime": task["costTime"]}
    error = {
        name: value
        for name, value in (
            ("code", text(task.get("failCode")) or text(task.get("errorCode"))),
            ("message", text(task.get("failMsg")) or text(task.get("errorMessage"))),
        )
        if value is not None
    }
    if error:
        facts["error"] = error
    found = Observation(
        Level.WORKFLOW,
        status=status,
        word=state,
        completed_at=_from_ms(task.get("completeTime")),
        submitted_at=_from_ms(task.get("createTime")),
        facts=facts,
    )
    blobs = files_in(workflow_id, _output(task)) if workflow_id and status is Status.SUCCEEDED else ()
    bare = status is Status.SUCCEEDED and not blobs
    needs_look = not snapshot and (status is None or bare)
    return Reading(workflow_id, (found,), blobs, snapshot=snapshot, complete=snapshot, needs_look=needs_look)


def _output(task: JsonObject) -> JsonObject:
    """`resultJson` is JSON in a text; outside the market the URLs are in `response` or `info`."""
    found: JsonObject = {name: task[name] for name in ("response", "info") if type(task.get(name)) is dict}
    if text(task.get("resultJson")):
        try:
            inner = parse(task["resultJson"].encode("utf-8", "replace"))
        except Unreadable:
            return found
        return {**found, **inner} if type(inner) is dict else {**found, "result": inner}
    return found


def _from_ms(value: Any) -> datetime | None:
    if type(value) is not int or value <= 0:
        return None
    whole = from_unix(value // 1000)
    return None if whole is None else whole + timedelta(milliseconds=value % 1000)


def _read_answer(document: JsonObject) -> Reading:
    data = document.get("data")
    task = data if type(data) is dict else {}
    given = next((task[name] for name in ("taskId", "task_id") if is_id(task.get(name))), "")
    return replace(_read(task, given), needs_look=False)


def _described(request: JsonObject) -> JsonObject:
    return {"model": request["model"]} if text(request.get("model")) else {}
