"""fal's documents (UPSTREAMS §5.2) in the ledger's words: the queue's status, a result, an error, a webhook.

A look has two stages, because a request that is `COMPLETED` may have failed: the status is asked until it says so, and
from then on the result. Which stage it is stands in the locator, `{"app": "fal-ai/flux", "ask": "result"}`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers.base import Unreadable
from receiver.providers.fal_errors import RUN_ERRORS
from receiver.providers.fields import MAX_WORD, rows, text, word
from receiver.providers.ids import checked
from receiver.providers.jsonbody import NotJson, parse
from receiver.providers.output_urls import files_in

STATUSES: dict[str, Status] = {
    "IN_QUEUE": Status.SCHEDULED,
    "IN_PROGRESS": Status.PROCESSING,
    "OK": Status.SUCCEEDED,  # the webhook's words
    "ERROR": Status.FAILED,
    # In no first-party type, but in third-party ones.
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELED,
    "CANCELED": Status.CANCELED,
}
_COMPLETED = "COMPLETED"
_LINKS = ("response_url", "status_url", "cancel_url")
_OF_STATUS = frozenset(
    {
        *("status", "request_id", "gateway_request_id", "queue_position", "logs", "metrics", "error", "error_type"),
        *_LINKS,
    }
)

# What follows the id in the URL of each stage. The newest `response_url` ends in `/response`, older ones in the id.
STAGES = {"status": "/status", "result": "", "response": "/response"}
_NAMESPACES = frozenset({"workflows", "comfy"})
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_MOST_SEGMENTS = 5
_OURS = frozenset({"path", "query", "header"})  # where a validation error is about how we asked
_KEPT = ("content_type", "file_name", "file_size", "width", "height", "duration")


def app_of(model: Any) -> str | None:
    """Return the owner and app of a model's path, as status and result want it; None when it is no such path.

    `fal-ai/flux/dev` is asked about under `fal-ai/flux`; the namespaces `workflows` and `comfy` come before both.
    """
    if type(model) is not str:
        return None
    parts = model.strip("/").split("/")
    count = 3 if parts[0] in _NAMESPACES else 2
    return _path(parts[:count]) if len(parts) >= count else None


def path_of(app: Any) -> str | None:
    """Return an app as a link told it, None when it is no path of a URL."""
    return _path(app.strip("/").split("/")) if type(app) is str else None


def locator_of(document: JsonObject, workflow_id: str) -> JsonObject | None:
    """Return the locator that the links in a submit answer or a status tell; None when they tell none.

    Only the path is taken from a link: where we send our key is for the source's configuration to say.
    """
    found: JsonObject = {}
    for name in _LINKS:
        app, tail = _taken_apart(document.get(name), workflow_id)
        if app is not None:
            found.setdefault("app", app)
            if name == "response_url" and document.get("status") == _COMPLETED:
                found["ask"] = "response" if tail == "/response" else "result"
    if document.get("status") == _COMPLETED:
        found.setdefault("ask", "result")
    return found or None


def is_status(document: JsonObject) -> bool:
    """Whether a document is the queue's word on a request and not a model's output, which may have any shape."""
    status = document.get("status")
    if type(status) is not str or not status:
        return False
    linked = any(type(document.get(name)) is str for name in _LINKS)
    return linked or (status in (*STATUSES, _COMPLETED) and document.keys() <= _OF_STATUS)


def read_queue(document: JsonObject, workflow_id: str, *, snapshot: bool = True) -> Reading:
    """Read a status, or a submit answer. `COMPLETED` is no ending, unless it says `error`: only the result tells.

    Newer statuses say `error` and `error_type` of what failed [spec: fal_client 1.0.3]; its absence proves nothing.
    """
    named = document.get("request_id")
    if named is not None and workflow_id and checked(named, "request_id") != workflow_id:
        raise Unreadable("upstream answered about another request than the one asked for")
    status = word(document, "status", "the request's status")
    error = _told(document) if status == _COMPLETED else None
    facts = _facts(document, error)
    found = locator_of(document, workflow_id)
    if found is not None:
        facts["locator"] = found
    meaning = Status.FAILED if error is not None else STATUSES.get(status) if status else None
    return Reading(
        workflow_id,
        (Observation(Level.WORKFLOW, status=meaning, word=status, facts=facts),),
        snapshot=snapshot,
        complete=False,
        needs_look=status is not None and meaning is None,
    )


def read_result(document: JsonObject, workflow_id: str) -> Reading:
    """Read a result, a model's output of any shape: it is there, so the request has succeeded. Raises Unreadable."""
    if not document or document.keys() <= {"detail", "error", "error_type", "message"}:
        raise Unreadable("the answer is neither a status nor a model's output")
    found = Observation(Level.WORKFLOW, status=Status.SUCCEEDED, word=_COMPLETED)
    return Reading(workflow_id, (found,), files(workflow_id, document), snapshot=True, complete=True)


def read_refusal(status: int, body: bytes, workflow_id: str) -> Reading | None:
    """Read an answer that is an error of the request itself; None when it is about our asking, or fal's own trouble.

    Known: a failed request's result is answered with its error [doc: queue, request-errors, errors]: a list in `detail`
    (the model's), or an `error_type` (the machines'). Not known: what else a result may be answered with. A plain 422
    counts as the request's own failure; any other plain text does not, so that an outage of fal fails nothing.
    """
    try:
        document = parse(body)
    except Unreadable:
        return None
    if type(document) is not dict:
        return None
    detail = document.get("detail")
    if status == 400 and type(detail) is str and "in progress" in detail.casefold():
        return Reading(workflow_id, (Observation(Level.WORKFLOW),), snapshot=True)
    listed = rows(detail) or []
    if any(type(each.get("loc")) is list and each["loc"] and each["loc"][0] in _OURS for each in listed):
        return None
    by_model = any(text(each.get("msg")) for each in listed) and status not in (401, 429)
    by_machine = document.get("error_type") in RUN_ERRORS if type(document.get("error_type")) is str else False
    if not (by_model or by_machine or (status == 422 and text(detail))):
        return None
    error = _told(document)
    found = Observation(Level.WORKFLOW, status=Status.FAILED, word=_COMPLETED, facts={"error": error} if error else {})
    return Reading(workflow_id, (found,), snapshot=True, complete=True)


def read_webhook(document: JsonObject, workflow_id: str, identity: str) -> Reading:
    """Read `{request_id, gateway_request_id, status, payload, error?, payload_error?}`.

    A success whose payload could not be written (`payload_error`) asks for a look.
    """
    status = word(document, "status", "the request's status")
    meaning = STATUSES.get(status) if status else None
    payload = document.get("payload")
    error = None
    if meaning is not None and meaning is not Status.SUCCEEDED:
        told = _told(payload) if type(payload) is dict else None
        message = text(document.get("error")) or text(document.get("payload_error"))
        error = {**({"message": message} if message else {}), **(told or {})} or None
    blobs = files(workflow_id, payload) if meaning is Status.SUCCEEDED else ()
    return Reading(
        workflow_id,
        (Observation(Level.WORKFLOW, status=meaning, word=status, facts=_facts(document, error)),),
        blobs,
        identity=identity,
        needs_look=meaning is None or (meaning is Status.SUCCEEDED and payload is None),
    )


def files(workflow_id: str, output: Any) -> tuple[BlobSeen, ...]:
    """Return the files of an output: objects `{url, content_type, …}` wherever they are, and bare URLs."""
    about: dict[str, JsonObject] = {}
    flat = _flattened(output, about)
    return tuple(_described(each, about.get(each.url or "")) for each in files_in(workflow_id, flat))


def error_of(body: bytes) -> JsonObject | None:
    """Return `{"code"?, "message"?}` of an error body, None when it tells neither."""
    try:
        document = parse(body)
    except (NotJson, Unreadable):
        return None
    return _told(document) if type(document) is dict else None


def _told(document: JsonObject) -> JsonObject | None:
    """An error in a status (`error`, `error_type`), a result or a payload (`detail`, `error_type`)."""
    detail = document.get("detail")
    first: JsonObject = next(iter(rows(detail) or []), {})
    code = text(document.get("error_type")) or text(first.get("type"))
    message = text(first.get("msg")) or text(detail) or text(document.get("error"))
    found = {"code": code[:MAX_WORD] if code else None, "message": message}
    return {key: value for key, value in found.items() if value is not None} or None


def _facts(document: JsonObject, error: JsonObject | None) -> JsonObject:
    metrics = document.get("metrics")
    found = {
        "gateway_request_id": text(document.get("gateway_request_id")),
        "usage": metrics if type(metrics) is dict and metrics else None,
        "error": error,
    }
    return {key: value for key, value in found.items() if value is not None}


def _flattened(value: Any, about: dict[str, JsonObject]) -> Any:
    """Put in place of each file object its URL, so that a file's slot is where the object stands (`images.0`)."""
    if type(value) is list:
        return [_flattened(each, about) for each in value]
    if type(value) is not dict:
        return value
    url = text(value.get("url"))
    if url and any(name in value for name in _KEPT):
        about.setdefault(url, {name: value[name] for name in _KEPT if type(value.get(name)) in (str, int, float)})
        return url
    return {key: _flattened(each, about) for key, each in value.items()}


def _described(blob: BlobSeen, about: JsonObject | None) -> BlobSeen:
    if not about:
        return blob
    kind = str(about.get("content_type", "")).partition("/")[0]
    return replace(blob, type=kind if kind in ("image", "video", "audio") else blob.type, facts=about)


def _taken_apart(link: Any, workflow_id: str) -> tuple[str | None, str]:
    if not text(link) or len(link) > 2048:
        return None, ""
    try:
        path = urlsplit(link).path
    except ValueError:
        return None, ""
    app, _, rest = path.strip("/").partition("/requests/")
    asked, slash, tail = rest.partition("/")
    if not asked or (workflow_id and asked != workflow_id):
        return None, ""
    return _path(app.split("/")), slash + tail


def _path(parts: list[str]) -> str | None:
    fits = 2 <= len(parts) <= _MOST_SEGMENTS and all(_SEGMENT.fullmatch(part) for part in parts)
    return "/".join(parts) if fits else None
