"""What upstreams without steps and jobs have in common: one task, an error, a handful of output files by place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading
from receiver.providers.base import Unreadable
from receiver.providers.expiry import expires_at
from receiver.providers.fields import MAX_WORD, text
from receiver.providers.ids import checked
from receiver.providers.jsonbody import strict

MAX_FILES = 1000  # of one task; real ones have one to a dozen

_KINDS = {
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "gif", "avif", "heic"), "image"),
    **dict.fromkeys(("mp4", "mov", "webm", "mkv", "avi", "m4v"), "video"),
    **dict.fromkeys(("mp3", "wav", "ogg", "flac", "m4a", "aac", "opus"), "audio"),
}


def submitted(
    answer: JsonObject | None,
    request: JsonObject | None,
    read_answer: Callable[[JsonObject], Reading],
    describe: Callable[[JsonObject], JsonObject],
    hook: str,
) -> Reading:
    """Return what a submitter has to tell (`Provider.track`). Raises Unreadable when that is nothing at all.

    `read_answer` reads the submit answer, `describe` says which facts the request tells besides itself. The request is
    kept without its field `hook`, the URL that carries our tokens. What upstream answered stands where both speak.
    """
    if answer is None and request is None:
        raise Unreadable("there is neither a submit answer nor a request to read")
    reading = Reading("", (Observation(Level.WORKFLOW),)) if answer is None else read_answer(strict(answer))
    if request is None:
        return reading
    kept = {key: value for key, value in strict(request).items() if key != hook}
    first, *others = reading.observations
    facts = {**describe(kept), **first.facts, "request": kept}
    return replace(reading, observations=(replace(first, facts=facts), *others))


def error_fact(value: Any) -> JsonObject | None:
    """Return an error as the ledger keeps it, `{"code"?, "message"?}`, None when nothing is told.

    From `{"code": str | int, "message": str}`, or from a plain text, which is a message and no code.
    """
    if type(value) is dict:
        code = value.get("code")
        found = {
            "code": str(code)[:MAX_WORD] if type(code) is int else text(code),
            "message": text(value.get("message")),
        }
        return {key: told for key, told in found.items() if told is not None} or None
    return {"message": value} if text(value) else None


def files(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the slot and the URL of each file in an output: a list of URLs by place, an object of URLs by name.

    Each may also be an object with a `url`. Whatever is no http(s) URL is left out.
    """
    pairs = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for slot, each in islice(pairs, MAX_FILES):
        url = web_url(each.get("url") if type(each) is dict else each)
        if url is not None:
            yield str(slot), url


def web_url(value: Any) -> str | None:
    """Return a value that is an http(s) URL of printable characters, else None."""
    found = text(value)
    return found if found and found.startswith(("https://", "http://")) and found.isprintable() else None


def file_at(
    workflow_id: str,
    slot: str,
    url: str,
    *,
    url_expires_at: datetime | None = None,
    media_expires_at: datetime | None = None,
    hidden: bool = False,
) -> BlobSeen:
    """Return an output file to which upstream gives no id: it is `<workflow>~<slot>` (DESIGN §8.2).

    What the URL itself says of its expiry comes before `url_expires_at`. Raises Unreadable when the two together are no
    id. With `hidden` only its being there is told, not its link.
    """
    ends = expires_at(url) or url_expires_at
    return BlobSeen(
        id=checked(f"{workflow_id}~{slot}", "an output's id"),
        type=kind_of(url),
        slot=slot,
        available=None if hidden else True,
        url=None if hidden else url,
        url_expires_at=None if hidden else ends,
        media_expires_at=media_expires_at,
        hidden=hidden,
    )


def kind_of(url: str) -> str | None:
    """Return `image`, `video` or `audio` by a URL's ending, None when that does not tell."""
    path = url.partition("?")[0].partition("#")[0]
    return _KINDS.get(path.rpartition("/")[2].rpartition(".")[2].lower()) if "." in path.rpartition("/")[2] else None
