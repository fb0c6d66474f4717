"""When a signed URL stops working, as the URL itself says. Nothing here raises, whatever the URL holds."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import unquote

from receiver.providers.instants import believable, from_unix, instant

_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MILLISECONDS = re.compile(r"\d{12,13}", re.ASCII)
# Only where a word begins, and never given back: else a long run of `eyJeyJ…` is read again from each of its places.
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{2,4096}+\.(eyJ[\w-]{2,8192}+)\.[\w-]{0,2048}", re.ASCII)

# Parameters that hold the end itself: Civitai's `exp` (UPSTREAMS §1.8), Azure's `se` and `ske` (the end of the key it
# was signed with), `Expires` of CloudFront and of the older signatures of AWS, Google and Alibaba, and what CDNs of
# their own call it.
_ENDS = frozenset(
    {"exp", "expire", "expires", "expires_at", "expiresat", "expiry", "expiration", "se", "ske", "x-expires"}
)
# `X-Amz-Date` + `X-Amz-Expires` (AWS and all that speak S3), and the same of Google, Alibaba and Volcengine.
_VENDORS = ("amz", "goog", "oss", "tos")
_MOST_PARAMETERS = 200
_LONGEST = 16_384  # characters of a URL that are looked at
_LONGEST_POLICY = 8192

# How servers of signed files say that it is the time that is over, lower case: S3, Google, Azure, CloudFront, Civitai.
_SAID = (
    b"request has expired", b"expiredtoken", b"token has expired", b"signature has expired", b"url has expired",
    b"not valid in the specified time frame", b"link has expired", b"url expired",
)  # fmt: skip


def expires_at(url: str) -> datetime | None:
    """Return the instant at which a signed URL expires, or None when it does not say.

    Understands an end as a parameter (an instant, or Unix seconds or milliseconds), a beginning with a duration,
    CloudFront's `Policy`, and the `exp` of a JWT in the query or the path. Several in one URL: the earliest.
    """
    url = url[:_LONGEST]
    address, _, query = url.partition("#")[0].partition("?")
    pairs = _pairs(query)
    ends = [end for name, value in pairs for end in _ends_of(name, value)]
    ends += [end for vendor in _VENDORS if (end := _lasting(pairs, vendor)) is not None]
    ends += [end for value in (*(value for _, value in pairs), address) for end in _ends_of_tokens(value)]
    return min(ends, default=None)


def is_expiry(answer: bytes, url_expires_at: datetime | None, now: datetime) -> bool:
    """Whether a 401, 403 or 410 of a file's server means that the URL's time is over, and no block (R17).

    The URL's own clock counts, and else what the `answer` says in words.
    """
    if url_expires_at is not None and now >= url_expires_at:
        return True
    said = answer[:4096].lower()
    return any(words in said for words in _SAID)


def _pairs(query: str) -> list[tuple[str, str]]:
    """Return the query's parameters, names in lower case. Not `parse_qs`: it raises, and makes '+' a space."""
    pairs = (pair.partition("=") for pair in query.split("&")[:_MOST_PARAMETERS] if pair)
    return [(unquote(name).lower(), unquote(value)) for name, _, value in pairs]


def _ends_of(name: str, value: str) -> Iterator[datetime]:
    found = None
    if name in _ENDS:
        found = _named(value)
    elif name == "policy":
        found = _policy_end(value)
    elif name == "q-sign-time":  # Tencent: "<from>;<until>", Unix seconds
        found = from_unix(value.partition(";")[2])
    if found is not None:
        yield found


def _named(value: str) -> datetime | None:
    if _DAY.fullmatch(value):
        value += "T00:00:00Z"  # Azure takes a bare day for its first moment
    if _MILLISECONDS.fullmatch(value):
        value = value[:-3]
    return instant(value) or from_unix(value)


def _lasting(pairs: list[tuple[str, str]], vendor: str) -> datetime | None:
    """Return the earliest end that a vendor's date and duration give, whichever of several a server might read."""
    began = (_COMPACT.fullmatch(value) for name, value in pairs if name == f"x-{vendor}-date")
    starts = [start for one in began if one is not None and (start := _compact(one)) is not None]
    lives = [int(value) for name, value in pairs if name == f"x-{vendor}-expires" and _SECONDS.fullmatch(value)]
    if not starts or not lives:
        return None
    try:
        return believable(min(starts) + timedelta(seconds=min(lives)))
    except OverflowError:
        return None


def _compact(found: re.Match[str]) -> datetime | None:
    year, month, day, hour, minute, second = found.groups()
    return instant(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z")


def _policy_end(value: str) -> datetime | None:
    """Read `DateLessThan` of a CloudFront policy: JSON in base64, with `-_~` for what URLs do not like.

    https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-custom-policy.html
    """
    document = _decoded(value.translate(str.maketrans("-_~", "+=/")), "+/")
    statements = document.get("Statement") if isinstance(document, dict) else None
    ends: list[datetime] = []
    for statement in statements if isinstance(statements, list) else [statements]:
        condition = statement.get("Condition") if isinstance(statement, dict) else None
        until = condition.get("DateLessThan") if isinstance(condition, dict) else None
        seconds = until.get("AWS:EpochTime") if isinstance(until, dict) else None
        end = from_unix(seconds)
        if end is not None:
            ends.append(end)
    return min(ends, default=None)


def _ends_of_tokens(text: str) -> Iterator[datetime]:
    for payload in _JWT.findall(text):
        claims = _decoded(payload, "-_")
        seconds = claims.get("exp") if isinstance(claims, dict) else None
        if type(seconds) is float and 0 <= seconds < 10**11:
            seconds = int(seconds)  # RFC 7519 takes fractions
        end = from_unix(seconds)
        if end is not None:
            yield end


def _decoded(text: str, alphabet: str) -> object:
    """Return the JSON in a base64 text, None when there is none."""
    if len(text) > _LONGEST_POLICY:
        return None
    try:
        packed = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), alphabet.encode())
        return json.loads(packed)
    except (ValueError, binascii.Error, RecursionError):
        return None
