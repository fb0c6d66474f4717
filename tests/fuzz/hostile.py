"""Input as nobody means it: mutated JSON, headers, texts, addresses and heads of requests."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

_TEXTS = (
    "", " ", "\0", "a" * 300, "a" * 9000, "..", "/", "%00", "\ud800", "\ufffd", "é", "日本", "0", "-1", "1e999",
    "v1,", "v1a,AAAA", "sha256=", "t=1,v1=", "=" * 50, "2026-01-21T22:21:26Z", "9999-12-31T23:59:59.9999999Z",
    "0001-01-01T00:00:00Z", "null", "true", "<script>", "' OR 1=1 --", "$ne", "{{7*7}}", "http://127.0.0.1:1/",
    "https://x.test/a?X-Amz-Date=20260121T000000Z&X-Amz-Expires=1", "٣", "\u202e", "1" * 400, "Infinity",
)  # fmt: skip
_NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, 0.1, -0.0, 1e308)


def text(random: Random) -> str:
    """A text that somebody may stumble over."""
    if random.random() < 0.6:
        return random.choice(_TEXTS)
    return "".join(
        chr(random.choice((random.randrange(128), random.randrange(0xD800)))) for _ in range(random.randrange(40))
    )


def value(random: Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kind = random.randrange(7 if depth else 5)
    if kind == 0:
        return random.choice(_NUMBERS)
    if kind == 1:
        return random.choice((True, False, None))
    if kind in (2, 3, 4):
        return text(random)
    if kind == 5:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    return {text(random): value(random, depth - 1) for _ in range(random.randrange(4))}


def mutated(random: Random, known: Any, rate: float = 0.15) -> Any:
    """A known document with some of it replaced, left out, doubled or wrapped."""
    if random.random() < rate:
        return random.choice((value(random), [known], {"data": known}, None, known))
    if isinstance(known, dict):
        items = [(key, mutated(random, item, rate)) for key, item in known.items() if random.random() > rate / 2]
        if random.random() < rate:
            items.append((text(random), value(random)))
        return dict(items)
    if isinstance(known, list):
        return [mutated(random, item, rate) for item in known for _ in range(random.choice((1, 1, 1, 0, 2)))]
    return known


def body(random: Random, known: Any) -> bytes:
    """The bytes of a mutated document, now and then with some of them broken."""
    made = bytearray(json.dumps(mutated(random, known)).encode("utf-8", "replace"))
    kind = random.random()
    if kind < 0.1:
        made = made[: random.randrange(len(made) + 1)]
    elif kind < 0.25 and made:
        for _ in range(random.randrange(1, 5)):
            made[random.randrange(len(made))] = random.randrange(256)
    elif kind < 0.28:
        made = bytearray(b'{"a":' * random.choice((50, 5000)) + made)
    return bytes(made)


def header(random: Random) -> str:
    """A header's value as the wire can carry it: latin-1, without line ends."""
    made = random.choice((
        text(random),
        "v1," + base64.b64encode(random.randbytes(random.choice((0, 1, 31, 32, 33, 64, 65)))).decode(),
        " ".join("v1," + text(random)[:50] for _ in range(random.randrange(40))),
        f"t={random.choice((0, 1, -1, 2**70, 1769034086))},v1={random.randbytes(32).hex()}",
        "sha256=" + random.randbytes(random.choice((0, 31, 32, 40))).hex(),
        str(random.choice((0, -1, 1769034086, 10**30))),
    ))  # fmt: skip
    return "".join(char for char in made if ord(char) < 256 and char not in "\r\n\0")


def address(random: Random) -> str:
    """Something like a signed URL."""
    names = (
        "X-Amz-Date", "X-Amz-Expires", "Expires", "exp", "se", "st", "sig", "Signature", "X-Goog-Date", "Policy",
        "X-Goog-Expires", "token", "verify", "ttl", "Key-Pair-Id", "expires_at", "hdnts", "auth_key", "e", "x",
    )  # fmt: skip
    values = (
        "20260121T222126Z", "3600", "1769034086", "1769034086000", "-1", "2026-01-21T22%3A21%3A26Z", "exp=1~hmac=0",
        base64.urlsafe_b64encode(json.dumps(value(random)).encode("utf-8", "replace")).decode(),
        "a." + base64.urlsafe_b64encode(b'{"exp":1e400}').decode() + ".b",
    )  # fmt: skip
    pairs = [f"{random.choice(names)}={random.choice((*values, text(random)))}" for _ in range(random.randrange(6))]
    where = random.choice(("https://x.test/a", "http://[::1", "//x", "https://x.test:99999/", "", text(random)))
    return where + random.choice("?#;") + "&".join(pairs)


def head(random: Random, path: str) -> bytes:
    """The head of a request, hardly ever well-formed."""
    method = random.choice(("GET", "POST", "HEAD", "PUT", "G\0T", "get", ""))
    lines = [f"{method} {path} HTTP/{random.choice(('1.1', '1.0', '2', ''))}"]
    for _ in range(random.randrange(8)):
        name = random.choice((
            "host", "content-length", "transfer-encoding", "authorization", "cookie", "if-none-match", "last-event-id",
            "expect", "upgrade", "connection", "x-forwarded-for", "x-forwarded-proto", text(random)[:20],
        ))  # fmt: skip
        given = random.choice((header(random), "0", "-1", "99999999999", "chunked", "Bearer hl_" + "a" * 43))
        lines.append(name + random.choice((": ", ":", " : ", "")) + given)
    ends = random.choice(("\r\n", "\r\n", "\r\n", "\n", "\r"))
    made = (ends.join(lines) + ends * 2).encode("latin-1", "replace")
    return made + random.randbytes(random.choice((0, 0, 5, 300)))


def query(random: Random, names: tuple[str, ...]) -> str:
    """A query string of known names and odd values, percent-encoded or not."""
    from urllib.parse import quote

    parts = []
    for _ in range(random.randrange(5)):
        name = random.choice((*names, text(random)))
        given = text(random)
        encoded = quote(given.encode("utf-8", "surrogatepass"), safe="") if random.random() < 0.9 else "%zz%f"
        parts.append(f"{quote(name.encode('utf-8', 'surrogatepass'), safe='.[]')}={encoded}")
    return "&".join(parts)
