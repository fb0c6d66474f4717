"""OpenAI's objects (UPSTREAMS §5.3, PyPI `openai` 3.52.0 types) in the ledger's words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers.fields import percent, text, word
from receiver.providers.ids import checked, is_id
from receiver.providers.instants import from_unix
from receiver.providers.jsonbody import as_object
from receiver.providers.tasks import error_fact


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: how its events and its ids begin, and where it is asked for."""

    events: str
    prefix: str
    path: str


# By the word in `object`, which is also what the locator holds.
KINDS: dict[str, Kind] = {
    "response": Kind("response.", "resp_", "/responses/{id}"),
    "batch": Kind("batch.", "batch_", "/batches/{id}"),
    "video": Kind("video.", "video_", "/videos/{id}"),
    "fine_tuning.job": Kind("fine_tuning.job.", "ftjob-", "/fine_tuning/jobs/{id}"),
    "eval.run": Kind("eval.run.", "evalrun_", "/evals/{eval_id}/runs/{id}"),
}

# The words of all kinds together; none means two things [spec: openai-python types]. British in most places, American
# in `eval.run.canceled`.
STATUSES: dict[str, Status] = {
    "queued": Status.SCHEDULED,
    "validating": Status.PREPARING,
    "validating_files": Status.PREPARING,
    "in_progress": Status.PROCESSING,
    "running": Status.PROCESSING,
    "finalizing": Status.PROCESSING,
    "cancelling": Status.PROCESSING,
    "completed": Status.SUCCEEDED,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "incomplete": Status.FAILED,
    "expired": Status.EXPIRED,
    "cancelled": Status.CANCELED,
    "canceled": Status.CANCELED,
}

_ENDED = ("completed_at", "finished_at", "failed_at", "expired_at", "cancelled_at")
_KEPT = (
    *("object", "endpoint", "completion_window", "request_counts", "result_counts", "report_url", "fine_tuned_model"),
    *("eval_id", "seconds", "size", "trained_tokens", "service_tier", "name"),
)


def kind_of(name: Any, workflow_id: str) -> str | None:
    """Return the kind of an object by the word in `object`, else by its id's prefix; None when neither tells."""
    if type(name) is str and name in KINDS:
        return name
    return next((known for known, each in KINDS.items() if workflow_id.startswith(each.prefix)), None)


def locator(about: str, told: JsonObject) -> JsonObject:
    """Return what is needed besides the id to ask again: the kind, and the evaluation where it is told."""
    found: JsonObject = {"object": about}
    if is_id(told.get("eval_id")):
        found["eval_id"] = told["eval_id"]
    return found


def read_object(document: JsonObject, workflow_id: str, *, snapshot: bool) -> Reading:
    """Read a Response, Batch, Video, FineTuningJob or eval Run. Raises Unreadable."""
    about = kind_of(document.get("object"), workflow_id)
    found = _observed(document, about)
    return Reading(
        workflow_id,
        (found,),
        _blobs(document, workflow_id, found, about),
        snapshot=snapshot,
        complete=snapshot,
        needs_look=not snapshot and found.word is not None and found.status is None,
    )


def read_listed(item: Any) -> Reading:
    """Read one object of a listing. Raises Unreadable."""
    document = as_object(item)
    return read_object(document, checked(document.get("id"), "an object's id"), snapshot=True)


def read_answer(document: JsonObject) -> Reading:
    """Read what a submission was answered with: the object itself, or one without an id. Raises Unreadable."""
    given = document.get("id")
    if given is None:
        return Reading("", (_observed(document, None),))
    return read_object(document, checked(given, "the answer's id"), snapshot=False)


def described(request: JsonObject) -> JsonObject:
    """Return the facts that a request tells besides itself."""
    found: JsonObject = {"model": request["model"]} if text(request.get("model")) else {}
    if type(request.get("metadata")) is dict:
        found["metadata"] = request["metadata"]
    return found


def _observed(document: JsonObject, about: str | None) -> Observation:
    status = word(document, "status", "the object's status")
    found: JsonObject = {key: document[key] for key in _KEPT if document.get(key) is not None}
    for key, kind in (("model", str), ("usage", dict), ("metadata", dict)):
        if type(document.get(key)) is kind and document[key]:
            found[key] = document[key]
    if about is not None:
        found["locator"] = locator(about, document)
    error = _error(document, status)
    if error is not None:
        found["error"] = error
    return Observation(
        Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        started_at=from_unix(document.get("in_progress_at")),
        completed_at=_ended(document),
        submitted_at=from_unix(document.get("created_at")),
        progress=percent(document.get("progress")),  # of a video
        facts=found,
    )


def _error(document: JsonObject, status: str | None) -> JsonObject | None:
    """The object's own error; of a batch the first of its list; of a cut-off response why; else the word itself."""
    listed = document.get("errors")
    first = listed.get("data") if type(listed) is dict else None
    details = document.get("incomplete_details")
    for told in (
        document.get("error"),
        first[0] if type(first) is list and first else None,
        {"code": details.get("reason")} if type(details) is dict else None,
        {"code": status} if status in ("expired", "cancelled") else None,
        {"code": "cancelled"} if status == "canceled" else None,
    ):
        found = error_fact(told)
        if found is not None:
            return found
    return None


def _ended(document: JsonObject) -> datetime | None:
    return next((at for key in _ENDED if (at := from_unix(document.get(key))) is not None), None)


def _blobs(document: JsonObject, workflow_id: str, found: Observation, about: str | None) -> tuple[BlobSeen, ...]:
    """A batch's files, by their own ids, and a video's content. All are downloaded with the key: they have no URL."""
    seen: dict[str, BlobSeen] = {}
    for key in ("output_file_id", "error_file_id"):
        if is_id(document.get(key)):
            seen.setdefault(document[key], BlobSeen(document[key], "file", slot=key, available=True))
    if about == "video" and found.status is Status.SUCCEEDED and is_id(f"{workflow_id}~content"):
        gone = from_unix(document.get("expires_at"))
        blob = BlobSeen(f"{workflow_id}~content", "video", slot="content", available=True, media_expires_at=gone)
        seen[blob.id] = blob
    return tuple(seen.values())
