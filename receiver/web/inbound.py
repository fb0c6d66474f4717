"""A delivery's request line and headers, taken apart for providers, and what of the headers is kept as evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import parse_qsl

from receiver.providers.signing import MAX_HEADER

RawHeaders = Iterable[tuple[bytes, bytes]]

_REMEMBERED = 512  # names and queries
_SHORT = 64  # bytes of a name, and
_USUAL = 1024  # of a query
_FIELDS = 50  # of a query; no upstream registers more than two

# Headers that say what was sent, by whom, and with which proof (`verify` checks signatures again).
_KEPT = frozenset({"content-type", "content-encoding", "date", "user-agent", "traceparent", "x-request-id"})
_KEPT_PREFIXES = ("webhook-", "x-webhook-", "svix-", "x-fal-webhook-", "ce-")
_KEPT_SUFFIXES = ("-signature", "-timestamp", "-delivery", "-delivery-id", "-event")
# Whatever else matches, these carry credentials.
_NEVER = ("authorization", "cookie", "token", "secret", "password", "api-key", "apikey")
# Characters of one value, unless a signature may be made of it: that may be as long as one that is believed. What is
# longer is left out, because half of it proves nothing.
_LONGEST = 4096
_ALL = 2 * MAX_HEADER  # characters of all of them


def headers_of(raw: RawHeaders) -> dict[str, str]:
    """Return headers by lower-case name, as latin-1 text; those that come twice are joined (RFC 9110 §5.3)."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key = _name_of(name) if len(name) <= _SHORT else name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def query_of(query_string: bytes) -> Mapping[str, str]:
    """Return the first value of each parameter of a URL's query; {} for a query of more fields than anyone needs."""
    return _query_of(query_string) if len(query_string) <= _USUAL else _query(query_string)


def kept_headers(headers: Mapping[str, str], identity_headers: tuple[str, ...]) -> dict[str, str]:
    """Return the headers that belong to the evidence: an allow-list, the provider's own, never credentials."""
    kept: dict[str, str] = {}
    room = _ALL
    for name, value in headers.items():
        if not (_is_kept if len(name) <= _SHORT else _is_kept.__wrapped__)(name, identity_headers):
            continue
        if len(value) <= (_LONGEST if name in _KEPT else MAX_HEADER) and len(name) + len(value) <= room:
            kept[name] = value
            room -= len(name) + len(value)
    return kept


# Whoever calls us does so in the same words each time, so most of this has been worked out before. What is remembered
# is bounded in number and in length, for strangers' words are remembered too.
@lru_cache(_REMEMBERED)
def _name_of(name: bytes) -> str:
    return name.decode("latin-1").lower()


@lru_cache(_REMEMBERED)
def _query_of(query_string: bytes) -> Mapping[str, str]:
    return MappingProxyType(_query(query_string))


def _query(query_string: bytes) -> dict[str, str]:
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        return {}
    return dict(reversed(pairs))


@lru_cache(_REMEMBERED)
def _is_kept(name: str, own: tuple[str, ...]) -> bool:
    wanted = name in _KEPT or name in own or name.startswith(_KEPT_PREFIXES) or name.endswith(_KEPT_SUFFIXES)
    return wanted and not any(word in name for word in _NEVER)
