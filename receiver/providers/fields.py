"""Single fields of documents from outside, read by type. A field of the wrong type is as good as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from receiver.ledger.records import JsonObject
from receiver.providers.base import Unreadable

# A word longer than this is no status; it is cut so that a text column never holds a hostile megabyte.
MAX_WORD = 256

# Upstream's field -> the ledger's name for it and the types it may have there.
Names = Mapping[str, tuple[str, tuple[type, ...]]]

NUMBER = (int, float)

# What the ledger reads by name (records.FACTS). An unknown field of upstream's that happens to be called so is not it.
RESERVED = frozenset(
    {
        *("reason", "blocked_reason", "error"),
        *("model", "output_format", "request", "source_media", "usage", "metadata", "cost", "tags", "external_id"),
        *("type", "input", "output", "preparation", "retries", "priority", "timeout"),
        *("queue_position", "mature_content", "deleted_at"),
    }
)


def facts(document: JsonObject, names: Names, consumed: frozenset[str]) -> JsonObject:
    """Return a document's fields as facts: those in `names` under the ledger's name when their type is right, those in
    `consumed` left out, every other as it came (R6). Nulls are left out: null and absent mean the same."""
    found: JsonObject = {}
    for key, value in document.items():
        if value is None or key in consumed:
            continue
        known = names.get(key)
        if known is not None:
            if type(value) in known[1]:
                found[known[0]] = value
        elif key not in RESERVED:
            found[key] = value
    return found


def word(document: JsonObject, key: str, what: str) -> str | None:
    """Return a status word, None when absent or empty. Raises Unreadable when it is there and not a string."""
    value = document.get(key)
    if value is None:
        return None
    if type(value) is not str:
        raise Unreadable(f"{what} is not a string")
    return value[:MAX_WORD] or None


def text(value: Any) -> str | None:
    """Return a value that is a string with something in it, else None."""
    return value if type(value) is str and value else None


def flag(value: Any) -> bool | None:
    """Return a value that is true or false, else None."""
    return value if type(value) is bool else None


def fraction(value: Any) -> float | None:
    """Return a number held to 0..1, else None."""
    return min(1.0, max(0.0, float(value))) if type(value) in NUMBER else None


def percent(value: Any) -> float | None:
    """Return a number of 0..100 as one of 0..1, held to that, else None."""
    return min(1.0, max(0.0, value / 100)) if type(value) in NUMBER else None


def rows(value: Any) -> list[JsonObject] | None:
    """Return the objects of a list, None when it is not a list."""
    return [item for item in value if type(item) is dict] if type(value) is list else None
