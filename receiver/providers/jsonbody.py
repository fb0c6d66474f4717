"""Bytes from outside as JSON that the rest of the program can hold, store and write again.

What comes out has no NaN or infinity, no lone surrogate, no NUL character (PostgreSQL refuses it), no integer beyond
64 bits (those become floats) and no more than MAX_DEPTH levels. A key that comes twice keeps its last value, as in
every JSON reader we know of; the raw body stays in the evidence.
"""

from __future__ import annotations

from typing import Any

import orjson

from receiver.ledger.records import JsonObject
from receiver.providers.base import Unreadable

# orjson reads 1024 levels but writes 254, and what is read here is written again inside larger documents.
MAX_DEPTH = 100
# What takes the reader long is not bytes but values: ten megabytes of `[],` cost it a second and a half and a quarter
# of a gigabyte, during which this process does nothing else. No upstream's document has a hundredth of these.
MAX_CONTAINERS = 100_000
MAX_VALUES = 1_000_000
_SMALL = 2**18  # bytes; whatever a body of this size holds is read in no time


class NotJson(Unreadable):
    """The bytes are not JSON at all: a gateway's page, a cut-off body, NaN, a lone surrogate."""


def parse(body: bytes) -> Any:
    """Return the JSON value in a body, cleaned. Raises NotJson, or Unreadable when it is nested too deeply or holds
    more values than a document has."""
    if len(body) > _SMALL:
        _refuse_swarms(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"the body is not JSON: {error.msg}") from None
    # Counting brackets bounds the depth without walking: nearly every body stops here.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise Unreadable(f"the JSON is nested more than {MAX_DEPTH} levels deep")
    return clean(value) if b"\\u0000" in body else value


def _refuse_swarms(body: bytes) -> None:
    """Raise Unreadable for a body of more values than we want to read. Counted, not read: what stands in texts counts
    as well, and is far from enough to matter."""
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise Unreadable(f"the JSON has more than {MAX_CONTAINERS} objects and lists")
    if body.count(b",") > MAX_VALUES or body.count(b"\\u0000") > MAX_CONTAINERS:
        raise Unreadable(f"the JSON has more than {MAX_VALUES} values")


def parse_object(body: bytes) -> JsonObject:
    """Return the JSON object in a body, cleaned. Raises NotJson or Unreadable, nothing else."""
    return as_object(parse(body))


def as_object(value: Any) -> JsonObject:
    """Return a JSON value that is an object. Raises Unreadable for any other."""
    if type(value) is not dict:
        raise Unreadable(f"the JSON is {_KINDS[type(value)]} where an object belongs")
    return value


def strict(value: object) -> JsonObject:
    """Return an object some other JSON reader made, as `parse_object` would have read it. Raises Unreadable.

    For documents that a submitter hands in (`track`); NaN and infinity become null.
    """
    try:
        body = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Unreadable(f"the document cannot be kept as JSON: {error}") from None
    return parse_object(body)


def clean(value: Any) -> Any:
    """Return a JSON value with every NUL character, in keys too, replaced by U+FFFD. At most MAX_DEPTH levels."""
    kind = type(value)
    if kind is str:
        return value.replace("\x00", "\ufffd") if "\x00" in value else value
    if kind is list:
        return [clean(item) for item in value]
    if kind is dict:
        return {clean(key): clean(item) for key, item in value.items()}
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether a value has more than `limit` levels of objects and lists. Level by level: no recursion to exhaust."""
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(limit):
        below: list[Any] = []
        for item in level:
            below.extend(item.values() if type(item) is dict else item)
        level = [item for item in below if type(item) is dict or type(item) is list]
        if not level:
            return False
    return True


_KINDS = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
