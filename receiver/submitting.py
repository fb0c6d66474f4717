"""Errors met at submit time: they have no id, so nobody tracks them; what there is to say is what to do (DESIGN §9)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from receiver.advising import as_json, look_up
from receiver.ledger.query_parts import JsonObject
from receiver.providers import PROVIDERS
from receiver.providers.advice import RETRY, RETRY_LATER, RETRY_ONCE
from receiver.providers.base import Provider, Unreadable
from receiver.providers.instants import http_date
from receiver.providers.jsonbody import strict
from receiver.redaction import Redactor

FIELDS = ("provider", "http", "body", "error", "retry_after")
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_RETRYABLE = frozenset({RETRY, RETRY_LATER, RETRY_ONCE})


class BadAdvice(ValueError):
    """What was handed in cannot be advised on; the message says why and what would be right."""


def advise_error(
    provider: str, http: int | None, body: bytes, redactor: Redactor, *, retry_after: str | None = None, now: datetime
) -> JsonObject:
    """Return what an upstream's error answer means and what to do. Raises BadAdvice.

    `{"disposition", "retry_after", "text", "known", "code", "message", "request_id", "fields"}`; `retry_after` is in
    seconds, upstream's own word before its table's, and null where sending the same again is not advised. `http` None,
    or a good status, is an error told inside a 200 answer. Secrets are taken out before anything is read or cut.
    """
    fault = _provider(provider).read_error(_status(http) or 0, redactor.bytes(body))
    http = None if http is not None and http < 400 else http
    advice = look_up(_provider(provider).errors, http, fault.code, fault.message)
    said = _wait(retry_after, now)
    told = as_json(advice)
    told["retry_after"] = (advice.retry_after if said is None else said) if advice.disposition in _RETRYABLE else None
    return {
        **told,
        "code": fault.code,
        "message": fault.message,
        "request_id": fault.request_id,
        "fields": fault.fields,
    }


def advise_on(told: Mapping[str, Any], redactor: Redactor, now: datetime) -> JsonObject:
    """Return the advice on what a program hands in. Raises BadAdvice.

    `told` is `{"provider", "http"?, "body"? | "error"?, "retry_after"?}`: `body` is the answer's body, as the text it
    came as or as the JSON it holds; `error` the error alone, an object or a text; `retry_after` the header's value.
    """
    unknown = sorted(told.keys() - set(FIELDS))
    if unknown:
        raise BadAdvice(f"there is no field {unknown[0][:40]!r}; there are {', '.join(FIELDS)}")
    given = {name: value for name, value in told.items() if value is not None}
    if "body" in given and "error" in given:
        raise BadAdvice("give `body`, the whole answer, or `error`, the error alone: not both")
    if not given.keys() & {"http", "body", "error"}:
        raise BadAdvice("there is nothing to advise on: give `http`, and `body` or `error`")
    wait = given.get("retry_after")
    if wait is not None and (isinstance(wait, bool) or not isinstance(wait, (str, int))):
        raise BadAdvice("retry_after must be the header's value: seconds, or an HTTP date")
    body = _body(given)
    return advise_error(
        given.get("provider", ""),
        _status(given.get("http")),
        body,
        redactor,
        retry_after=None if wait is None else str(wait),
        now=now,
    )


def _body(given: Mapping[str, Any]) -> bytes:
    if "error" in given:
        error = given["error"]
        if not isinstance(error, (dict, str)):
            raise BadAdvice("error must be a JSON object or a text")
        # A whole answer that was taken for its error is read as what it is.
        bare = isinstance(error, dict) and bool(error.keys() & {"error", "errors", "title", "detail"})
        return _dumped(error if bare else {"error": error})
    body = given.get("body", "")
    return body.encode("utf-8", "replace") if isinstance(body, str) else _dumped(body)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(strict({"held": value})["held"])
    except Unreadable as error:
        raise BadAdvice(str(error)) from None


def _provider(name: object) -> Provider:
    provider = PROVIDERS.get(name) if isinstance(name, str) else None
    if provider is None:
        raise BadAdvice(f"provider must be one of {', '.join(sorted(PROVIDERS))}")
    return provider


def _status(value: object) -> int | None:
    if value is None or (type(value) is int and 100 <= value <= 599):
        return value
    raise BadAdvice("http must be the answer's status: a whole number from 100 to 599")


def _wait(value: str | None, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header, or None without one. Raises BadAdvice."""
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    until = http_date(value)
    if until is None:
        raise BadAdvice("retry_after must be the header's value: seconds, or an HTTP date")
    return max(0.0, round((until - now.astimezone(UTC)).total_seconds(), 3))
