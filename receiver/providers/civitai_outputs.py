"""Civitai's output files: found wherever a step's output holds them, and read into the ledger's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from receiver.ledger.records import BlobSeen, JsonObject
from receiver.providers.expiry import expires_at
from receiver.providers.fields import flag, text
from receiver.providers.ids import checked, is_id
from receiver.providers.instants import instant

MAX_BLOBS = 1000  # in one step's output
MAX_DEPTH = 32
MAX_SLOT = 256
MAX_NODES = 100_000  # objects and lists looked at

_CONSUMED = frozenset({"id", "type", "available", "url", "urlExpiresAt", "jobId"})
_RENAMED = {
    "previewUrl": "preview_url",
    "previewUrlExpiresAt": "preview_url_expires_at",
    "nsfwLevel": "nsfw_level",
    "blockedReason": "blocked_reason",
}


def blobs_of(step: str | None, output: Any, *, asked_for_all: bool) -> list[BlobSeen]:
    """Return the blobs in one step's output, in its order.

    Outputs differ per step type (`images[]`, `video`, `additionalVideos[]`, custom objects: UPSTREAMS §1.2.2), so every
    object with a string `id`, a string `type` and a boolean `available` counts as one, down to MAX_DEPTH levels, for
    MAX_NODES objects and MAX_BLOBS files. `slot` is its path in the output (`images.0`), None when that is too long.

    `asked_for_all` says that the reading answers a request with `hideMatureContent=false`. In any other reading a file
    that is available, not blocked and still has no URL was hidden from whoever asked.
    """
    found: list[BlobSeen] = []
    for slot, document in _candidates(output):
        found.append(_seen(document, step, slot, asked_for_all))
        if len(found) == MAX_BLOBS:
            break
    return found


def blob(document: JsonObject) -> BlobSeen:
    """Return the blob that RefreshBlob answers with: `Blob` itself, outside any output. Raises Unreadable."""
    checked(document.get("id"), "the blob's id")
    return _seen(document, None, None, asked_for_all=True)


def one_each(blobs: list[BlobSeen]) -> tuple[BlobSeen, ...]:
    """Return each blob once: a later step that passes a file on names it again. The first that has a URL counts."""
    best: dict[str, BlobSeen] = {}
    for seen in blobs:
        known = best.get(seen.id)
        if known is None or (known.url is None and seen.url is not None):
            best[seen.id] = seen
    return tuple(best.values())


def _candidates(output: Any) -> Iterator[tuple[str | None, JsonObject]]:
    """Walk an output depth first in document order, with a stack of its own: the document is not ours."""
    stack: list[tuple[str | None, int, Any]] = [("", 0, output)]
    room = MAX_NODES
    while stack:
        path, depth, value = stack.pop()
        children: Iterable[tuple[Any, Any]]
        if type(value) is dict:
            if type(value.get("available")) is bool and type(value.get("type")) is str and is_id(value.get("id")):
                yield path or None, value
            children = value.items()
        elif type(value) is list:
            children = enumerate(value)
        else:
            continue
        if depth == MAX_DEPTH:
            continue
        below = [(key, child) for key, child in islice(children, room) if type(child) is dict or type(child) is list]
        room -= len(below)
        stack.extend((_place(path, key), depth + 1, child) for key, child in reversed(below))


def _place(path: str | None, key: str | int) -> str | None:
    """The path of a child; None from where it grows too long, lest a long key be copied for every child below it."""
    if path is None or len(path) + (len(key) if type(key) is str else 0) > MAX_SLOT:
        return None
    return f"{path}.{key}" if path else str(key)


def _seen(document: JsonObject, step: str | None, slot: str | None, asked_for_all: bool) -> BlobSeen:
    url = text(document.get("url"))
    available = flag(document.get("available"))
    job = document.get("jobId")
    facts = {
        _RENAMED.get(key, key): value for key, value in document.items() if value is not None and key not in _CONSUMED
    }
    withheld = available is True and url is None and document.get("blockedReason") is None
    return BlobSeen(
        id=document["id"],
        type=text(document.get("type")),
        step=step,
        job=job if is_id(job) else None,
        slot=slot,
        available=available,
        url=url,
        url_expires_at=(instant(document.get("urlExpiresAt")) or expires_at(url)) if url else None,
        hidden=withheld and not asked_for_all,
        facts=facts,
    )
