"""Errors as upstreams wrap them, read into a `Fault`: shared by all, because gateways mix the shapes anyway."""

from __future__ import annotations

import re
from typing import Any

from receiver.providers.advice import Fault
from receiver.providers.base import Unreadable
from receiver.providers.jsonbody import parse

_LONGEST = 2000  # characters of a message that are kept
_LOOKED_AT = 16_384  # and of what is no JSON: the title of a page stands at its beginning
_TITLE = re.compile(r"<title[^<>]*>([^<]{0,300})</title>", re.IGNORECASE)


def read_fault(body: bytes) -> Fault:
    """Read an error body of any of the known shapes; never raises.

    `{"error": {"code", "message", "request_id"}}` (Beeble, EvoLink, RemoveBGVideo), the same without its wrapper,
    `{"error": "text"}`, RFC 9457 problem details with a map of `errors` (Civitai), `{"detail": …}` (fal, Replicate), a
    bare JSON string (Civitai's 403), HTML of a gateway, plain text. A numeric code becomes text.
    """
    try:
        value = parse(body)
    except Unreadable:
        return Fault(message=_plain(body[:_LOOKED_AT].decode("utf-8", "replace")))
    if isinstance(value, str):
        return Fault(message=_cut(value))
    if not isinstance(value, dict):
        return Fault(message=None)
    inner = value.get("error")
    told = inner if isinstance(inner, dict) else value
    message = (
        _text(told.get("message"))
        or _text(told.get("msg"))
        or (inner if isinstance(inner, str) else None)
        or _problem(value)
    )
    request_id = _text(told.get("request_id")) or _text(value.get("request_id")) or _text(value.get("traceId"))
    code = _scalar(told.get("code"))
    if code is None and isinstance(inner, dict):
        code = _text(inner.get("type"))
    return Fault(code, _cut(message), request_id, _fields(value))


def _problem(value: dict[str, Any]) -> str | None:
    parts = [part for part in (_text(value.get("title")), _text(value.get("detail"))) if part]
    detail = value.get("detail")
    if isinstance(detail, list):
        parts += [item["msg"] for item in detail if isinstance(item, dict) and isinstance(item.get("msg"), str)]
    return ": ".join(parts) or None


def _fields(value: dict[str, Any]) -> dict[str, list[str]]:
    """The validation map: RFC 9457's `errors` {path: [message]}, or the list of `{loc, msg}` that FastAPI makes."""
    found: dict[str, list[str]] = {}
    errors, detail = value.get("errors"), value.get("detail")
    if isinstance(errors, dict):
        for path, messages in errors.items():
            listed = messages if isinstance(messages, list) else [messages]
            found[path] = [one for one in listed if isinstance(one, str)]
    if isinstance(detail, list):
        for item in detail:
            if isinstance(item, dict) and isinstance(item.get("loc"), list) and isinstance(item.get("msg"), str):
                found.setdefault(".".join(str(part) for part in item["loc"]), []).append(item["msg"])
    return found


def _scalar(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, int) else _text(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"


def _plain(text: str) -> str | None:
    if "<" in text[:256]:
        title = _TITLE.search(text)
        return " ".join(title.group(1).split()) if title else None
    return _cut(" ".join(text.split())) or None
