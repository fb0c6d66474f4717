"""A delivery's request line and headers, taken apart for providers, and what of the headers is kept as evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

RawHeaders = Iterable[tuple[bytes, bytes]]

_FIELDS = 50  # of a query; no upstream registers more than two

# Headers that say what was sent, by whom, and with which proof (`verify` checks signatures again).
_KEPT = frozenset({"content-type", "content-encoding", "date", "user-agent", "traceparent", "x-request-id"})
_KEPT_PREFIXES = ("webhook-", "x-webhook-", "svix-", "x-fal-webhook-", "ce-")
_KEPT_SUFFIXES = ("-signature", "-timestamp", "-delivery", "-delivery-id", "-event")
# Whatever else matches, these carry credentials.
_NEVER = ("authorization", "cookie", "token", "secret", "password", "api-key", "apikey")
_LONGEST = 4096  # characters of one value; a longer one is left out, because half a signature proves nothing
_ALL = 16384  # characters of all of them


def headers_of(raw: RawHeaders) -> dict[str, str]:
    """Return headers by lower-case name, as latin-1 text; those that come twice are joined (RFC 9110 §5.3)."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def query_of(query_string: bytes) -> dict[str, str]:
    """Return the first value of each parameter of a URL's query; {} for a query of more fields than anyone needs."""
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def kept_headers(headers: Mapping[str, str], identity_headers: Iterable[str]) -> dict[str, str]:
    """Return the headers that belong to the evidence: an allow-list, the provider's own, never credentials."""
    own = frozenset(identity_headers)
    kept: dict[str, str] = {}
    room = _ALL
    for name, value in headers.items():
        wanted = name in _KEPT or name in own or name.startswith(_KEPT_PREFIXES) or name.endswith(_KEPT_SUFFIXES)
        if not wanted or any(word in name for word in _NEVER):
            continue
        if len(value) <= _LONGEST and len(name) + len(value) <= room:
            kept[name] = value
            room -= len(name) + len(value)
    return kept
