"""The answers to whoever does not get as far as the application: made once, so that they cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import orjson

AGAIN_SOON = 5  # seconds until whoever found no place is to try again


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer. `reason` is what it is counted under, `body` a problem (RFC 9457), `answer` what goes on the wire."""

    reason: str
    body: bytes
    answer: bytes


class Refused(Exception):
    """A callback of the parser does not want to go on."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def _refusal(reason: str, status: int, title: str, detail: str) -> Refusal:
    body = orjson.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/problem+json",
        "cache-control: no-store",
        *([f"retry-after: {AGAIN_SOON}"] if status == 503 else []),
        f"content-length: {len(body)}",
        "connection: close",
    ]
    return Refusal(reason, body, "\r\n".join([*lines, "", ""]).encode() + body)


BUSY = _refusal("full", 503, "Not now", "there are too many connections")
NO_ROOM = _refusal("no room", 503, "Not now", "too many large requests are on their way")
SLOW_HEAD = _refusal("slow head", 408, "Too slow", "the request did not arrive in time")
SLOW_BODY = _refusal("slow body", 408, "Too slow", "the body did not arrive in time")
LARGE_HEAD = _refusal("large head", 431, "Too large a head", "the request has too many headers, or too long ones")
LARGE_REST = _refusal("large rest", 413, "Too large", "the request has been answered, and goes on")
MALFORMED = _refusal("malformed", 400, "Not understood", "this is not HTTP as it should be")
PADDED = _refusal("padded", 400, "Not understood", "there is more around the body than in it")
PIPELINED = _refusal("pipelined", 400, "Not understood", "too many requests were sent at once")

CLIENT_FULL = "client full"  # answered as BUSY is
# And what connections are closed for without a word:
SILENT = "silent"  # nothing came
NOT_READ = "answer not read"

_ALL = (BUSY, NO_ROOM, SLOW_HEAD, SLOW_BODY, LARGE_HEAD, LARGE_REST, MALFORMED, PADDED, PIPELINED)
REASONS = (*(refusal.reason for refusal in _ALL), CLIENT_FULL, SILENT, NOT_READ)
