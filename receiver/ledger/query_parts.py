"""How rows of the ledger look as JSON (DESIGN §8.2): every key is always there, absent is null. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from receiver.ledger.records import TransitionKind
from receiver.ledger.states import Status

Row = Mapping[Any, Any]
JsonObject = dict[str, Any]

# Facts that have a key of their own; whatever else upstream said is under `other` (R6).
WORKFLOW_FACTS = ("metadata", "cost", "tags", "external_id", "deleted_at")
STEP_FACTS = ("type", "input", "output", "metadata", "preparation", "retries", "cost", "priority", "timeout")
JOB_FACTS = ("cost", "queue_position", "mature_content")
BLOB_FACTS = ("width", "height", "duration", "nsfw_level", "blocked_reason")

# A URL with less left than this, or than a third of its life, is as good as expired: it must outlast the redirect.
URL_MARGIN = timedelta(seconds=10)


def stamp(at: datetime | None) -> str | None:
    """Return an aware instant as RFC 3339 text in UTC ending in `Z`."""
    if at is None:
        return None
    return f"{(at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat()[:-6]}Z"


def servable(row: Row, now: datetime) -> bool:
    """Whether a blob's URL comes from confirmed evidence and still works (R17)."""
    if row["url"] is None or not row["url_confirmed"] or row["gone_at"] is not None:
        return False
    return row["url_expires_at"] is None or bool(row["url_expires_at"] > now)


def lasting(row: Row, now: datetime) -> bool:
    """Whether a blob's URL will work long enough to be handed on: beyond min(10 s, a third of its life)."""
    if not servable(row, now):
        return False
    expires, seen = row["url_expires_at"], row["url_seen_at"]
    if expires is None:
        return True
    life = expires - seen if seen is not None and seen < expires else timedelta(0)
    return bool(expires - now > min(URL_MARGIN, life / 3))


def href(source: str, blob_id: str) -> str:
    """Return the path under which a blob can be had."""
    return f"/blobs/{quote(source, safe='')}/{quote(blob_id, safe='')}"


def blob_json(row: Row, now: datetime) -> JsonObject:
    """Return one blob. `url` only when confirmed evidence gave it and it works; no other link at all: which evidence
    a fact came from is not known (R17)."""
    return {
        "id": row["id"],
        "type": row["type"],
        "step": row["step"],
        "job": row["job"],
        "slot": row["slot"],
        "available": row["available"],
        "href": href(row["source"], row["id"]),
        "url": row["url"] if servable(row, now) else None,
        "url_expires_at": stamp(row["url_expires_at"]),
        "url_confirmed": bool(row["url_confirmed"]),
        "media_expires_at": stamp(row["media_expires_at"]),
        "record_expires_at": stamp(row["record_expires_at"]),
        "gone_at": stamp(row["gone_at"]),
        **_named(without_links(row["facts"], frozenset()), BLOB_FACTS),
    }


def node_json(row: Row) -> JsonObject:
    """Return what a workflow, a step and a job have alike."""
    return {
        "status": row["status"],
        "upstream_status": row["upstream_status"],
        "terminal": Status(row["status"]).terminal,
        "inferred": row["inferred_from"] is not None,
        "first_seen_at": stamp(row["first_seen_at"]),
        "started_at": stamp(row["started_at"]),
        "completed_at": stamp(row["completed_at"]),
        "finished_at": stamp(row["finished_at"]),
        "finished_via": row["finished_via"],
        "confirmed_at": stamp(row["confirmed_at"]),
        "reason": row["reason"],
        "blocked_reason": row["blocked_reason"],
        "progress": row["progress"],
    }


def step_json(row: Row, links: frozenset[str]) -> JsonObject:
    """Return one step. Of the web addresses in its output only `links` stay: those that may be served (R17)."""
    facts = row["facts"]
    if "output" in facts:
        facts = {**facts, "output": without_links(facts["output"], links)}
    return {"name": row["key"], **node_json(row), "error": error_json(facts.get("error")), **_named(facts, STEP_FACTS)}


def job_json(row: Row) -> JsonObject:
    """Return one job."""
    facts = row["facts"]
    error = error_json(facts.get("error"))
    return {"id": row["key"], "step": row["step"], **node_json(row), "error": error, **_named(facts, JOB_FACTS)}


def workflow_json(row: Row, steps: Iterable[Row], jobs: Iterable[Row], blobs: Iterable[Row], now: datetime) -> Any:
    """Return one workflow without what hangs on its check and its attention; see `queries`."""
    ordered = sorted(blobs, key=lambda blob: (blob["step"] or "", blob["slot"] or "", blob["id"]))
    links = frozenset(blob["url"] for blob in ordered if servable(blob, now))
    return {
        "source": row["source"],
        "id": row["id"],
        "run": row["run"],
        **node_json(row),
        "reason": "vanished" if row["vanished_at"] is not None else row["reason"],
        "vanished_at": stamp(row["vanished_at"]),
        "first_seen_via": row["first_seen_via"],
        "submitted_at": stamp(row["submitted_at"]),
        "asked_at": stamp(row["asked_at"]),
        "ephemeral": row["ephemeral"],
        "error": error_json(row["error"]),
        "advice": None,
        "attention": [],
        "next_check_at": None,
        "check": None,
        **{name: row[name] for name in ("model", "output_format", "request", "source_media", "usage")},
        **{name: row[name] for name in ("ref", "locator", "context")},
        **_named({key: value for key, value in row["facts"].items() if key != "error"}, WORKFLOW_FACTS),
        "steps": [step_json(step, links) for step in steps],
        "jobs": [job_json(job) for job in jobs],
        "blobs": [blob_json(blob, now) for blob in ordered],
    }


def error_json(error: Any) -> JsonObject | None:
    """Return upstream's error as `{"code", "message"}`, None when there is none."""
    if not isinstance(error, dict):
        return None
    return {"code": error.get("code"), "message": error.get("message")}


def attention_json(row: Row) -> JsonObject:
    """Return one reason for a person to look."""
    return {
        "kind": row["kind"],
        "since": stamp(row["since"]),
        "note": row["note"],
        "evidence": row["evidence"],
        "acknowledged_at": stamp(row["acknowledged_at"]),
        "acknowledged_by": row["acknowledged_by"],
    }


def transition_json(row: Row) -> JsonObject:
    """Return one transition; instants as the database has them, or as the text they are kept as."""
    return {
        "seq": row["seq"],
        "run": row["run"],
        "level": row["level"],
        "key": row["key"],
        "from": row["from_status"],
        "to": row["to_status"],
        "kind": row["kind"],
        "evidence": row["evidence"],
        "upstream_at": _stamp_of(row["upstream_at"]),
        "recorded_at": _stamp_of(row["recorded_at"]),
        "inferred": row["kind"] == TransitionKind.INFERRED,
    }


def _stamp_of(value: datetime | str | None) -> str | None:
    return stamp(datetime.fromisoformat(value) if isinstance(value, str) else value)


def check_json(row: Row) -> JsonObject:
    """Return when and why a workflow is looked at next, and how the last tries went."""
    reasons = {why: stamp(datetime.fromisoformat(at)) for why, at in row["reasons"].items()}
    return {
        "due_at": stamp(row["due_at"]),
        "lane": row["lane"],
        "reasons": reasons,
        "because": None,
        "wanted_at": stamp(row["wanted_at"]),
        "tried_at": stamp(row["tried_at"]),
        "retry_at": stamp(row["retry_at"]),
        "leased_until": stamp(row["leased_until"]),
        **{name: row[name] for name in ("attempts", "looks", "misses", "last_error")},
    }


def without_links(value: Any, kept: frozenset[str]) -> Any:
    """Return JSON data with every web address replaced by null, except those in `kept`.

    Nesting is bounded where documents come in (`jsonbody.MAX_DEPTH`).
    """
    if isinstance(value, dict):
        return {key: without_links(item, kept) for key, item in value.items()}
    if isinstance(value, list):
        return [without_links(item, kept) for item in value]
    if isinstance(value, str) and value not in kept and value.lstrip()[:8].lower().startswith(("http://", "https://")):
        return None
    return value


def _named(facts: JsonObject, names: tuple[str, ...]) -> JsonObject:
    rest = {key: value for key, value in facts.items() if key not in names and key != "error"}
    return {**{name: facts.get(name) for name in names}, "other": rest or None}
