"""What a request asks for: its query, its path and its JSON body, each checked, with a clear problem when wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from receiver.ledger.listing import MOST, USUAL, JobFilter, WorkflowFilter
from receiver.providers.base import Unreadable
from receiver.providers.ids import is_id
from receiver.providers.instants import instant
from receiver.providers.jsonbody import parse_object
from receiver.web.answers import site_of
from receiver.web.problems import Problem
from receiver.web.waiting import unknown_workflow

T = TypeVar("T")

PARSED_ASIDE = 2**18  # bytes; reading a larger body takes long enough to hold up everybody else
LONGEST_WAIT = 60.0  # seconds; proxies give up on answers that take longer

_WORKFLOWS = frozenset(
    {"source", "status", "open", "stale", "attention", "step_type", "context", "since", "until", "q", "limit", "cursor"}
)
_SEVERAL = frozenset({"status", "kind", "outcome", "context"})  # may be given more than once
_JOBS = frozenset({"source", "id", "status", "workflow", "since", "limit", "cursor"})


def named(request: Request) -> tuple[str, str]:
    """Return the (source, id) in a path. What can be no id is as unknown as any other."""
    source, workflow_id = request.path_params["source"], request.path_params["id"]
    if not is_id(source) or not is_id(workflow_id):
        raise unknown_workflow(source, workflow_id)
    return source, workflow_id


def named_blob(request: Request) -> tuple[str, str]:
    """Return the (source, id of a blob) in a path; as `named`."""
    source, blob_id = request.path_params["source"], request.path_params["id"]
    if not is_id(source) or not is_id(blob_id):
        raise unknown_blob(source, blob_id)
    return source, blob_id


def unknown_blob(source: str, blob_id: str) -> Problem:
    """Return the problem that nobody has heard of a blob."""
    return Problem("unknown-blob", f"no blob {blob_id[:256]!r} is known of source {source[:64]!r}")


def workflow_filter(request: Request) -> WorkflowFilter:
    """Return the filter in a query. Raises BadFilter, and Problem `bad-filter`."""
    known(request, _WORKFLOWS, label=_label)
    query = request.query_params
    context = _context(request)
    attention = query.get("attention")
    return WorkflowFilter(
        source=query.get("source"),
        statuses=tuple(query.getlist("status")),
        open=flag_of(request, "open"),
        stale=flag_of(request, "stale"),
        attention="any" if attention in ("true", "1") else attention,
        step_type=query.get("step_type"),
        context=context,
        since=instant_of(request, "since"),
        until=instant_of(request, "until"),
        q=query.get("q"),
        limit=limit_of(request),
        cursor=query.get("cursor"),
    )


def job_filter(request: Request) -> JobFilter:
    """Return the filter in a query about jobs. Raises BadFilter, and Problem `bad-filter`."""
    known(request, _JOBS)
    query = request.query_params
    return JobFilter(
        source=query.get("source"),
        id=query.get("id"),
        statuses=tuple(query.getlist("status")),
        workflow=query.get("workflow"),
        since=instant_of(request, "since"),
        limit=limit_of(request),
        cursor=query.get("cursor"),
    )


def _context(request: Request) -> dict[str, str]:
    """Return the labels that are asked for: as `context.team=red`, `context[team]=red` or `context=team=red`."""
    found: dict[str, str] = {}
    for name, given in request.query_params.multi_items():
        label, value = _label(name), given
        if name == "context":
            label, between, value = given.partition("=")
            if not between:
                raise Problem("bad-filter", 'context must be a label and its value, such as "team=red"')
        if label is not None and found.setdefault(label, value) != value:
            raise Problem("bad-filter", f"two values are given for the label {label[:40]!r}")
    return found


def _label(name: str) -> str | None:
    """Return the label that `context.<key>` or `context[<key>]` asks for, None for any other parameter."""
    if name.startswith("context."):
        return name.removeprefix("context.")
    return name[8:-1] if name.startswith("context[") and name.endswith("]") else None


def known(request: Request, names: Collection[str], label: Callable[[str], str | None] = lambda _: None) -> None:
    """Raise Problem `bad-filter` for a parameter nobody knows: a misspelt filter must not mean "everything".

    One that may stand once stands once: of two values, neither is what was meant.
    """
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name in seen and name not in _SEVERAL:
            raise Problem("bad-filter", f"{name[:40]!r} is given twice")
        seen.add(name)
        if name not in names and label(name) is None:
            also = ", context.<key>" if label is _label else ""
            listed = ", ".join(sorted(names)) + also if names else "none"
            raise Problem("bad-filter", f"there is no parameter {name[:40]!r} here; there are: {listed}")


def limit_of(request: Request) -> int:
    """Return how many items are asked for. Raises Problem `bad-filter`."""
    text = request.query_params.get("limit")
    if text is None:
        return USUAL
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST):
        raise Problem("bad-filter", f"limit must be a whole number from 1 to {MOST}")
    return int(text)


def wait_of(request: Request) -> float | None:
    """Return how many seconds to wait, None when not asked to. Raises Problem `bad-filter`."""
    text = request.query_params.get("wait")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT:
        raise Problem("bad-filter", f"wait must be seconds from 0 to {LONGEST_WAIT:g}")
    return seconds


async def json_body(request: Request, read: Callable[[dict[str, Any]], T]) -> T:
    """Return what `read` makes of the JSON object in a request's body, under the server's cap of size. Raises Problem.

    Large ones are parsed and read in a thread.
    """
    largest = site_of(request).config.server.max_body
    too_large = Problem("too-large", f"the body is larger than {largest} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > largest:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > largest:
                raise too_large
        if len(body) <= PARSED_ASIDE:
            return read(parse_object(bytes(body)))
        return await asyncio.to_thread(lambda: read(parse_object(bytes(body))))
    except ClientDisconnect:  # or it was too slow, which the protocol has told it
        raise Problem("bad-request", "the body did not arrive whole") from None
    except Unreadable as error:
        raise Problem("bad-request", str(error)) from None


def flag_of(request: Request, name: str) -> bool | None:
    """Return what a parameter says, true or false; None without it. Raises Problem `bad-filter`."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if text == "true":
        return True
    if text == "false":
        return False
    raise Problem("bad-filter", f"{name} must be true or false")


def instant_of(request: Request, name: str) -> datetime | None:
    """Return the instant a parameter names, None without it. Raises Problem `bad-filter`."""
    text = request.query_params.get(name)
    if text is None:
        return None
    # In a query, `+` means a space: "+02:00" arrives as " 02:00".
    found = instant(text.replace(" ", "+") if text[10:11] != " " else text)
    if found is None:
        raise Problem("bad-filter", f'{name} must be an instant such as "2026-01-21T22:21:26Z"')
    return found
