"""The one rule for ids that come from outside (DESIGN §4), and how they are put into a URL."""

from __future__ import annotations

from urllib.parse import quote

from receiver.providers.base import Unreadable

MAX_LENGTH = 256


def is_id(value: object) -> bool:
    """Whether a value is 1 to 256 printable characters without '/', and neither '.' nor '..'.

    U+FFFD stands where something unprintable stood (`jsonbody.clean`), so it is not one of them.
    """
    return (
        type(value) is str
        and 0 < len(value) <= MAX_LENGTH
        and value.isprintable()
        and "/" not in value
        and "\ufffd" not in value
        and value not in (".", "..")
    )


def checked(value: object, what: str) -> str:
    """Return an id that keeps the rule. Raises Unreadable, naming `what` it is but not its value."""
    if type(value) is not str:
        raise Unreadable(f"{what} is missing" if value is None else f"{what} is not a string")
    if not is_id(value):
        raise Unreadable(f"{what} is not 1 to {MAX_LENGTH} printable characters without '/', '.' and '..' excluded")
    return value


def quoted(value: str) -> str:
    """Return an id percent-encoded as one segment of a URL's path. Raises Unreadable when it is not an id."""
    return quote(checked(value, "the id"), safe="")
