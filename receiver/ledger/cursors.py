"""Opaque places in a list: where the next page begins, as text that only we take apart."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from receiver.ledger.query_parts import stamp

_LARGEST = 2**63


class BadCursor(ValueError):
    """A cursor is not one of ours; it must be a `next_cursor` of the same list."""

    def __init__(self) -> None:
        super().__init__("the cursor is not one of this list's; pass on a `next_cursor` as it came, or none")


def encode(kind: str, place: Mapping[str, Any]) -> str:
    """Return a cursor for a place: instants, whole numbers and texts by name. `kind` says which list it is of."""
    plain = {name: stamp(value) if isinstance(value, datetime) else value for name, value in place.items()}
    return base64.urlsafe_b64encode(orjson.dumps([kind, *plain.values()])).decode().rstrip("=")


def decode(kind: str, cursor: str, *types: type) -> tuple[Any, ...]:
    """Return the values a cursor holds, of these types in this order. Raises BadCursor for anything else."""
    try:
        held = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise BadCursor from None
    if type(held) is not list or len(held) != len(types) + 1 or held[0] != kind:
        raise BadCursor
    return tuple(_value(one, wanted) for one, wanted in zip(held[1:], types, strict=True))


def _value(value: object, wanted: type) -> Any:
    if wanted is datetime:
        try:
            at = datetime.fromisoformat(value) if type(value) is str else None
            if at is None or at.tzinfo is None:
                raise BadCursor
            return at.astimezone(UTC)
        except (ValueError, OverflowError):
            raise BadCursor from None
    if type(value) is not wanted or (type(value) is int and not 0 <= value < _LARGEST):
        raise BadCursor
    if type(value) is str and "\0" in value:
        raise BadCursor
    return value
