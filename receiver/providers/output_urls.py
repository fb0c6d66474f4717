"""Output files of upstreams that may put a URL anywhere in an output: every text that is one counts as a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from receiver.ledger.records import BlobSeen
from receiver.providers.ids import is_id
from receiver.providers.tasks import MAX_FILES, file_at, web_url

MAX_DEPTH = 32
MAX_URL = 8192
_MAX_NODES = 100_000  # values looked at: the text of a language model is an output of one token per item
_ONLY = "output"  # the slot of an output that is nothing but one URL


def files_in(workflow_id: str, output: Any, *, media_expires_at: datetime | None = None) -> tuple[BlobSeen, ...]:
    """Return a file for each http(s) URL in an output, in its order, down to MAX_DEPTH levels and MAX_FILES files.

    A slot is the path of the URL in the output (`0`, `images.0.url`), or `file-<n>` where that makes no id.
    """
    found: list[BlobSeen] = []
    for number, (path, url) in enumerate(islice(_urls(output), MAX_FILES)):
        for slot in (path or _ONLY, f"file-{number}"):
            if is_id(f"{workflow_id}~{slot}"):
                found.append(file_at(workflow_id, slot, url, media_expires_at=media_expires_at))
                break
    return tuple({seen.id: seen for seen in found}.values())


def _urls(output: Any) -> Iterator[tuple[str, str]]:
    """Walk an output depth first, in its order, with a stack of its own: the document is not ours."""
    stack: list[tuple[str, int, Any]] = [("", 0, output)]
    room = _MAX_NODES
    while stack:
        path, depth, value = stack.pop()
        if type(value) is str:
            if len(value) <= MAX_URL and " " not in value and web_url(value):
                yield path, value
            continue
        if depth == MAX_DEPTH:
            continue
        children: Iterable[tuple[Any, Any]] = ()
        if type(value) is dict:
            children = value.items()
        elif type(value) is list:
            children = enumerate(value)
        below = [(key, child) for key, child in islice(children, room) if type(child) in (str, dict, list)]
        room -= len(below)
        # Long keys are cut, lest one be copied for every value below it; such a path makes no id anyway.
        stack.extend(
            (f"{path}.{key}"[-300:] if path else str(key)[:300], depth + 1, child) for key, child in below[::-1]
        )
