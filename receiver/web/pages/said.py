"""What a page says once about what was just done: a word of a fixed list, in a cookie that lives seconds."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from receiver.web.visitors import is_https

_COOKIE, _SECURE_COOKIE = "hookledger-said", "__Host-hookledger-said"
WORDS = {
    "asked": "Upstream is being asked; what it answers appears here.",
    "acknowledged": "Noted: you have seen to it. It stays open until its cause is gone.",
    "replayed": "The delivery was read with today's code and applied: what it says is in this workflow now.",
    "replay-nothing": "The delivery was read with today's code and applied again; it changed nothing.",
    "corrected": "The ledger now says what the evidence says today; what changed is in the timeline as corrected.",
    "replay-same": "Nothing was corrected: the ledger already says what the evidence says today.",
    "saved": "The link is saved for everybody.",
    "removed": "The link is gone.",
    "gone": "That was no longer open.",
}


def say(request: Request, response: Response, word: str) -> None:
    """Have the next page say this."""
    assert word in WORDS
    response.set_cookie(
        _name(request), word, max_age=20, path="/", secure=is_https(request), httponly=True, samesite="strict"
    )


def heard(request: Request) -> str | None:
    """Return what this page is to say; nothing when it is only renewed in place."""
    return None if _in_place(request) else WORDS.get(request.cookies.get(_name(request), ""))


def forget(request: Request, response: Response) -> None:
    """Say it only once."""
    if _name(request) in request.cookies and not _in_place(request):
        response.delete_cookie(_name(request), path="/", secure=is_https(request), httponly=True, samesite="strict")


def _name(request: Request) -> str:
    return _SECURE_COOKIE if is_https(request) else _COOKIE


def _in_place(request: Request) -> bool:
    return "hx-request" in request.headers
