"""The escalation report of a workflow: RemoveBGVideo's template [guides/troubleshooting], and what else is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.advising import with_advice
from receiver.config import Config
from receiver.ledger import queries, trail
from receiver.ledger.attempts import Told, errors_told, list_fetches
from receiver.ledger.query_parts import JsonObject, stamp
from receiver.ledger.records import EvidenceKind
from receiver.ledger.states import Status
from receiver.providers import PROVIDERS
from receiver.providers.advice import Fault
from receiver.providers.base import Provider, Unreadable
from receiver.providers.envelopes import read_fault
from receiver.providers.jsonbody import parse
from receiver.redaction import Redactor
from receiver.symptoms import LONGEST, known_symptoms

# The template's fields, in its order; they stand first in every report.
TEMPLATE = (
    "incident_time", "job_id", "model", "output_format", "symptom", "http_status", "error_code", "request_id",
    "source_video_meta",
)  # fmt: skip
_MOST = 1000  # transitions, and pieces of evidence, in a report
_BACKGROUND = ("background", "bg_type", "bg_color")
_COMPOSITION = ("composition",)
_INPUTS = re.compile(r"(^|_)(ur[il]s?|images?|videos?|audios?|media|files?|source)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(?:s|sec|secs|seconds?)?\s*", re.IGNORECASE | re.ASCII)
_LONGEST_NUMBER = 64  # characters
_HOOK = re.compile(r"callback|hook|notif", re.IGNORECASE)
_BADLY = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELED})
_HTTP = re.compile(r"[45]\d\d", re.ASCII)


class BadSymptom(ValueError):
    """A symptom cannot be what it is; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class _Error:
    """What upstream told of what is wrong, and where: `workflow`, or the id of the evidence."""

    http_status: int | None = None
    code: str | None = None
    request_id: str | None = None
    told_by: str | None = None


async def incident_of(
    connection: AsyncConnection,
    config: Config,
    redactor: Redactor,
    source: str,
    workflow_id: str,
    now: datetime,
    symptom: str | None = None,
) -> JsonObject | None:
    """Return the report on a workflow, None when nobody has heard of it. Raises BadSymptom.

    TEMPLATE's fields, and beside them: `reported_at`, `source`, `provider`, `status`, `upstream_status`, `run`,
    `submitted_at`, `finished_at`, `reason`, `error`, `error_told_by` (`workflow`, or the evidence `error_code` is
    from), `known_symptoms`, `advice`, `attention`, `request`, `background`, `composition`, `input_reference`, `media`,
    `usage`, `ref`, `context`, `steps`, `timeline` (transitions), `evidence` (with the bodies' SHA-256), `attempts` (our
    looks that were answered) and `check` (those that were not). Whoever shows it takes the secrets out of its values.
    """
    if symptom is not None and not (0 < len(symptom.strip()) <= LONGEST and symptom.isprintable()):
        raise BadSymptom(f"symptom must be 1 to {LONGEST} printable characters")
    row = await queries.workflow_row(connection, source, workflow_id)
    if row is None:
        return None
    workflow = with_advice(await queries.as_json(connection, [row], now), config)[0]
    transitions = await trail.list_transitions(connection, row["pk"], limit=_MOST)
    evidence = await trail.list_evidence(connection, row["pk"], limit=_MOST)
    attempts = await list_fetches(connection, row["pk"])
    told = await errors_told(connection, row["pk"])
    known = config.sources.get(source)
    error = _error(workflow, attempts, told, PROVIDERS.get(known.provider) if known else None, redactor)
    return {
        **_template(workflow, error, attempts, symptom, now),
        "reported_at": stamp(now),
        "provider": known.provider if known else None,
        **{name: workflow[name] for name in (
            "source", "status", "upstream_status", "run", "submitted_at", "finished_at", "reason", "blocked_reason",
            "error",
        )},
        "error_told_by": error.told_by,
        "known_symptoms": [one.as_json() for one in known_symptoms(symptom or "")],
        **{name: workflow[name] for name in ("advice", "attention", "request")},
        "background": _asked_for(workflow["request"], _BACKGROUND),
        "composition": _asked_for(workflow["request"], _COMPOSITION),
        "input_reference": dict(_inputs(workflow["request"])) or None,
        "media": workflow["source_media"],
        **{name: workflow[name] for name in ("usage", "cost", "ref", "context")},
        "steps": [_ended(step, "name") for step in workflow["steps"]],
        "jobs": [_ended(job, "id") for job in workflow["jobs"]],
        "timeline": transitions["items"],
        "evidence": evidence["items"],
        "complete": transitions["next_cursor"] is None and evidence["next_cursor"] is None,
        "attempts": attempts,
        "check": workflow["check"],
    }  # fmt: skip


def _template(
    workflow: JsonObject, error: _Error, attempts: list[JsonObject], symptom: str | None, now: datetime
) -> JsonObject:
    media = workflow["source_media"] or {}
    return {
        "incident_time": _incident_time(workflow, attempts, now),
        "job_id": workflow["id"],
        "model": workflow["model"],
        "output_format": workflow["output_format"],
        "symptom": symptom,
        "http_status": error.http_status,
        "error_code": error.code,
        "request_id": error.request_id,
        "source_video_meta": {
            "duration_s": _seconds(media),
            "resolution": _resolution(media),
            "codec": _first(media, "codec", "video_codec"),
        },
    }


def _incident_time(workflow: JsonObject, attempts: list[JsonObject], now: datetime) -> str | None:
    """When it ended (upstream's clock before ours); of what has not ended, since when somebody should have looked."""
    if workflow["terminal"]:
        ended: str | None = workflow["completed_at"] or workflow["finished_at"]
        return ended
    since: list[str] = [one["since"] for one in workflow["attention"]]
    failed: list[str] = [one["sent_at"] for one in attempts if _refused(one)]
    return min(since) if since else failed[0] if failed else stamp(now)


def _error(
    workflow: JsonObject, attempts: list[JsonObject], told: list[Told], provider: Provider | None, redactor: Redactor
) -> _Error:
    """Return the error of which a report tells, all of it from one place.

    What the workflow itself, or a step or job of it, says; else the newest look that upstream refused, unless the
    workflow ended and was seen since; else what a delivery says. Of its parts only the request's id is looked for
    everywhere: the workflow's own document has none.
    """
    ended_badly = workflow["status"] in _BADLY
    code = _own_code(workflow) if ended_badly else None
    if code is not None or (ended_badly and (workflow["error"] or {}).get("message")):
        told_it = [(one, fault) for one in told if (fault := _fault(one, workflow, provider, redactor)) is not None]
        same = [(one, fault) for one, fault in told_it if code is not None and fault.code == code]
        http = next((one.http_status for one, _ in same if one.http_status is not None), None)
        if http is None and code is not None and _HTTP.fullmatch(code):
            http = int(code)
        wanted = [(one, fault) for one, fault in told_it if one.kind is EvidenceKind.DELIVERY or (one, fault) in same]
        return _Error(http, code, next((f.request_id for _, f in wanted if f.request_id), None), "workflow")
    refused = _newest_refusal(workflow, attempts)
    for one in told:
        fault = _fault(one, workflow, provider, redactor)
        if one.kind is EvidenceKind.DELIVERY and refused is None and fault is not None:
            return _Error(None, fault.code, fault.request_id, one.evidence)
        if refused is not None and one.evidence == refused["evidence"]:
            known = fault or Fault()
            return _Error(one.http_status, known.code, known.request_id or one.request_id, one.evidence)
    return _Error()


def _newest_refusal(workflow: JsonObject, attempts: list[JsonObject]) -> JsonObject | None:
    for one in attempts:
        if _refused(one):
            return one
        if workflow["terminal"]:
            return None
    return None


def _refused(attempt: JsonObject) -> bool:
    return attempt["http_status"] is not None and attempt["http_status"] >= 400


def _own_code(workflow: JsonObject) -> str | None:
    for node in (workflow, *workflow["steps"], *workflow["jobs"]):
        if node["status"] in _BADLY:
            reason = "blocked" if node["blocked_reason"] else None if node["reason"] == "vanished" else node["reason"]
            code = (node["error"] or {}).get("code") or reason
            if code:
                return str(code)
    return None


def _fault(told: Told, workflow: JsonObject, provider: Provider | None, redactor: Redactor) -> Fault | None:
    """Return the error in a body, None when it tells none. A delivery may hold it inside `data` or `job`."""
    body = redactor.bytes(told.body)  # before a long message is cut
    if told.kind is EvidenceKind.FETCH:
        return read_fault(body) if provider is None else provider.read_error(told.http_status or 0, body)
    try:
        document = parse(body)
    except Unreadable:
        return None
    for _ in range(3):
        if not isinstance(document, dict):
            return None
        error = document.get("error")
        if isinstance(error, (dict, str)) and error:
            found = error if isinstance(error, dict) else {}
            request_id = found.get("request_id") or document.get("request_id")
            code = found.get("code")
            return Fault(
                str(code) if isinstance(code, (str, int)) and not isinstance(code, bool) else None,
                None,
                request_id if isinstance(request_id, str) and request_id != workflow["id"] else None,
            )
        document = next((document[name] for name in ("data", "job", "payload") if name in document), None)
    return None


def _asked_for(request: Any, names: tuple[str, ...]) -> Any:
    """Return the settings of these names, of the request or its steps' inputs, by where they stand; None for none."""
    return {path: value for path, value in _settings(request) if path.rpartition(".")[2] in names} or None


def _settings(request: Any) -> Iterator[tuple[str, Any]]:
    """Yield each setting of a request with its path: at the top, in `input` or `arguments`, in each step's input."""
    if not isinstance(request, dict):
        return
    yield from request.items()
    for inner in ("input", "arguments"):
        if isinstance(request.get(inner), dict):
            yield from ((f"{inner}.{name}", value) for name, value in request[inner].items())
    steps = request.get("steps")
    for place, step in enumerate(steps if isinstance(steps, list) else ()):
        if isinstance(step, dict) and isinstance(step.get("input"), dict):
            yield from ((f"steps[{place}].input.{name}", value) for name, value in step["input"].items())


def _inputs(request: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a request refers to as its input: addresses under names such as `video_url`, `source_uri`, `image`."""
    for path, value in _settings(request):
        name = _CAMEL.sub("_", path.rpartition(".")[2]).lower()
        listed = value if isinstance(value, list) else [value]
        if (
            _INPUTS.search(name)
            and not _HOOK.search(name)
            and any(isinstance(one, str) and _ADDRESS.match(one) for one in listed)
        ):
            yield path, _short(value)


def _short(value: Any) -> Any:
    """Return an input without its bytes: a `data:` URI names nothing that anybody could look up."""
    if isinstance(value, list):
        return [_short(one) for one in value]
    if isinstance(value, str) and value[:5].lower() == "data:":
        return f"a data URI of {len(value)} characters"
    return value


def _ended(node: JsonObject, key: str) -> JsonObject:
    names = (key, "status", "reason", "blocked_reason", "error", "started_at", "completed_at", "finished_at")
    return {**{name: node[name] for name in names}, **({"advice": node["advice"]} if "advice" in node else {})}


def _seconds(media: JsonObject) -> float | None:
    value = _first(media, "duration_s", "duration", "duration_seconds", "video_duration")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = _NUMBER.fullmatch(value) if isinstance(value, str) and len(value) <= _LONGEST_NUMBER else None
    return float(found[1]) if found else None


def _resolution(media: JsonObject) -> Any:
    width, height = media.get("width"), media.get("height")
    return _first(media, "resolution") or (f"{width}x{height}" if width and height else None)


def _first(values: JsonObject, *names: str) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)
