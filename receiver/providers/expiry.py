"""When a signed URL stops working, as the URL itself says."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from urllib.parse import unquote

from receiver.providers.instants import believable, from_unix, instant

_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)


def expires_at(url: str) -> datetime | None:
    """Return the instant at which a signed URL expires, or None when it does not say.

    Understands Civitai's `exp` (UPSTREAMS §1.8), Azure's `se`, `X-Amz-Date` + `X-Amz-Expires`, `X-Goog-Date` +
    `X-Goog-Expires`, and `Expires` in Unix seconds (CloudFront, and the older signatures of AWS and Google). Several in
    one URL: the earliest.
    """
    query = _query(url)
    if not query:
        return None
    named = (_named(query.get(name)) for name in ("exp", "se", "expires"))
    ends = [*named, *(_lasting(query, vendor) for vendor in ("amz", "goog"))]
    return min((end for end in ends if end is not None), default=None)


def _query(url: str) -> dict[str, str]:
    """Return the query's parameters, names in lower case. Not `parse_qs`: it raises, and makes '+' a space."""
    _, _, query = url.partition("?")
    pairs = (pair.partition("=") for pair in query.partition("#")[0].split("&") if pair)
    return {unquote(name).lower(): unquote(value) for name, _, value in pairs}


def _named(value: str | None) -> datetime | None:
    return instant(value) or from_unix(value)


def _lasting(query: dict[str, str], vendor: str) -> datetime | None:
    signed = _COMPACT.fullmatch(query.get(f"x-{vendor}-date", ""))
    seconds = query.get(f"x-{vendor}-expires", "")
    if signed is None or not _SECONDS.fullmatch(seconds):
        return None
    year, month, day, hour, minute, second = signed.groups()
    start = instant(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")
    if start is None:
        return None
    try:
        return believable(start + timedelta(seconds=int(seconds)))
    except OverflowError:
        return None
