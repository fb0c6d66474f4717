"""What a submitter tells us of a workflow (`track`), as an entry for the ledger's one door.

The same for `POST /v1/workflows` and for `hookledger track`. Nothing is stored that holds the value of a known secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from receiver.config import Config
from receiver.ledger.entries import Entry
from receiver.ledger.evidence import dedupe_key
from receiver.ledger.records import EvidenceKind, JsonObject, Level, Observation, Reading
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider, Unreadable
from receiver.providers.ids import MAX_LENGTH, is_id
from receiver.providers.instants import instant
from receiver.providers.jsonbody import strict
from receiver.redaction import Redactor

FIELDS = ("source", "id", "submitted_at", "request", "response", "media", "context", "ref", "locator")
_OBJECTS = ("request", "response", "media", "context", "locator")
_LONGEST_LABEL = 1024
_MOST_LABELS = 64
_AHEAD = timedelta(minutes=5)


class BadTrack(ValueError):
    """What was handed in cannot be tracked; the message says why and what would be right."""


def track_entry(
    told: Mapping[str, Any],
    config: Config,
    redactor: Redactor,
    now: datetime,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> Entry:
    """Return the entry that registers a submitted workflow. Raises BadTrack.

    `told` is `{"source", "id"?, "submitted_at"?, "request"?, "response"?, "media"?, "context"?, "ref"?, "locator"?}`:
    `response` upstream's answer to the submission (it may name the id), `request` what was sent, `media` what is known
    of the input, `context` labels to find the workflow by, `locator` what the provider needs besides the id. The entry
    has a dedupe key, so that the same again changes nothing.
    """
    given = _cleaned(told, redactor)
    source = given.get("source")
    if not isinstance(source, str) or source not in config.sources:
        known = ", ".join(sorted(config.sources)) or "none"
        raise BadTrack(f"source must be one of those configured: {known}")
    reading = _read(given, providers[config.sources[source].provider].track)
    return Entry(
        source=source,
        policy=config.policy(source),
        kind=EvidenceKind.DECISION,
        at=now,
        workflow_id=reading.workflow_id,
        reading=reading,
        told={
            "context": given.get("context"),
            "ref": given.get("ref"),
            "locator": given.get("locator"),
            "source_media": given.get("media"),
        },
        submitted_at=_submitted_at(given, now),
        decision={"track": given},
        key=dedupe_key(f"track {reading.workflow_id}", (), orjson.dumps(given, option=orjson.OPT_SORT_KEYS))[0],
    )


def _cleaned(told: Mapping[str, Any], redactor: Redactor) -> JsonObject:
    """Check the shape of what was told; return it without nulls and without secrets."""
    try:
        document = strict(dict(told))
    except Unreadable as error:
        raise BadTrack(str(error)) from None
    unknown = sorted(document.keys() - set(FIELDS))
    if unknown:
        raise BadTrack(f"there is no field {unknown[0][:40]!r}; there are {', '.join(FIELDS)}")
    given: JsonObject = redactor.json({name: value for name, value in document.items() if value is not None})
    for name in _OBJECTS:
        if name in given and not isinstance(given[name], dict):
            raise BadTrack(f"{name} must be a JSON object")
    _check_labels(given.get("context") or {})
    ref = given.get("ref")
    if ref is not None and not (isinstance(ref, str) and 0 < len(ref) <= MAX_LENGTH and ref.isprintable()):
        raise BadTrack(f"ref must be a text of 1 to {MAX_LENGTH} printable characters")
    return given


def _check_labels(context: JsonObject) -> None:
    if len(context) > _MOST_LABELS:
        raise BadTrack(f"context must have at most {_MOST_LABELS} labels")
    for key, value in context.items():
        if not 0 < len(key) <= MAX_LENGTH or not key.isprintable():
            raise BadTrack(f"a label of context must have a name of 1 to {MAX_LENGTH} printable characters")
        if not isinstance(value, str) or len(value) > _LONGEST_LABEL:
            raise BadTrack(f"context.{key[:40]} must be a text of at most {_LONGEST_LABEL} characters")


def _read(given: JsonObject, track: Any) -> Reading:
    """Return what the answer and the request say, for the workflow they and the given id agree on."""
    named = given.get("id")
    if named is not None and not is_id(named):
        raise BadTrack(f"id must be 1 to {MAX_LENGTH} printable characters without '/', and not '.' or '..'")
    reading = Reading("", (Observation(Level.WORKFLOW),))
    if "response" in given or "request" in given:
        try:
            reading = track(given.get("response"), given.get("request"))
        except Unreadable as error:
            raise BadTrack(f"response or request cannot be read: {error}") from None
    answered = reading.workflow_id
    if named is not None and answered and answered != named:
        raise BadTrack("response names another id than `id`; hand in the answer to this very submission")
    if named is None and not answered:
        raise BadTrack(
            "there is no id: give `id`, or as `response` upstream's answer to the submission, which names it"
        )
    return replace(reading, workflow_id=named or answered)


def _submitted_at(given: JsonObject, now: datetime) -> datetime | None:
    said = given.get("submitted_at")
    if said is None:
        return None
    at = instant(said)
    if at is None:
        raise BadTrack('submitted_at must be an instant such as "2026-01-21T22:21:26Z"')
    if at > now + _AHEAD:
        raise BadTrack("submitted_at lies in the future")
    return at
