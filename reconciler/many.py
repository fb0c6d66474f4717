"""One request that answers for many checks of a source (`Provider.bulk_status`): a list, or a batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from receiver.ledger.entries import Answer, Look
from receiver.ledger.records import Reading
from receiver.logs import log_event, without_query
from receiver.providers.base import CredentialsRefused, Request, Response, UpstreamBusy
from receiver.reading import MANY, parts_of, read_many, take_part
from receiver.redaction import Redactor
from reconciler.claiming import Task
from reconciler.plan import Refetch
from reconciler.refetch import KEPT_HEADERS, Asked, entry_of, look_of
from reconciler.source import Source

# What only a look at the workflow itself may bring once it has ended: whether lists sign URLs afresh, no upstream says.
_ONLY_ALONE = frozenset({"wanted", "blobs", "uncollected"})


@dataclass(slots=True)
class AskedMany:
    """What one request for many brought, for each check in turn.

    `sent` is False when no request was made. `refused` says that upstream has no such request, or not for us.
    """

    asked: list[Asked]
    sent: bool
    refused: bool = False


def joins(task: Task) -> bool:
    """Whether a request for many may answer for a check. Pure."""
    if task.alone or not isinstance(task.plan, Refetch):
        return False
    state = task.state
    ended = state is not None and state.node.status.terminal and state.node.confirmed_at is not None
    return not (ended and _ONLY_ALONE.intersection(task.plan.reasons))


async def ask_many(source: Source, tasks: Sequence[Task], redactor: Redactor, now: datetime) -> AskedMany:
    """Make one request for claimed checks. Never raises for upstream's faults; logs one line.

    A check the answer does not tell of is OMITTED, and so are all of them when upstream refuses such requests: they are
    asked about one by one, and that they are missing here says nothing (it is no 404).
    """
    began = time.monotonic()
    request: Request | None = None
    response: Response | None = None
    readings: dict[str, Reading] = {}
    error: Exception | None = None
    try:
        request = source.provider.bulk_status([task.claim.id for task in tasks], source.account)
        if request is not None:
            source.in_time(tasks[0].claim)
            response = await source.transport.send(request)
            readings = read_many(source.provider, response, source.account)
    except Exception as problem:  # noqa: BLE001 - whatever it is, single looks go on
        error = problem
    if response is not None:
        source.offset.read(response.sent_at, response.received_at, response.date)
    if isinstance(error, (UpstreamBusy, CredentialsRefused)):
        found = AskedMany(_failed(source, tasks, error, response, redactor, now), request is not None)
    else:
        asked = _told(source, tasks, readings, response, now, alone=error is None)
        found = AskedMany(asked, request is not None, refused=error is not None)
    message = redactor.text(str(error) or type(error).__name__) if error is not None else None
    _log(source, request, found, message, time.monotonic() - began)
    return found


def _failed(
    source: Source,
    tasks: Sequence[Task],
    error: UpstreamBusy | CredentialsRefused,
    response: Response | None,
    redactor: Redactor,
    now: datetime,
) -> list[Asked]:
    """The same failure for each, tried again at the same time, so that one request may answer for all of them again."""
    looks = [look_of(source, task, None, error, redactor, answered=False) for task in tasks]
    longest = max(look.backoff for look in looks)
    status = response.status if response is not None else None
    asked: list[Asked] = []
    for task, look in zip(tasks, looks, strict=True):
        look.backoff = longest
        asked.append(Asked(entry_of(source, task, look, now), look.answer, status))
    return asked


def _told(
    source: Source,
    tasks: Sequence[Task],
    readings: Mapping[str, Reading],
    response: Response | None,
    now: datetime,
    *,
    alone: bool,
) -> list[Asked]:
    """Take the answer apart. `alone` says that upstream does answer such requests, only not for who is missing."""
    wanted = readings.keys() & {task.claim.id for task in tasks}
    parts = parts_of(response.body, wanted) if response is not None else {}
    asked: list[Asked] = []
    for task in tasks:
        reading = readings.get(task.claim.id)
        if reading is None or response is None:
            look = Look(task.claim.fence, Answer.OMITTED, evidence=False, alone=alone)
            asked.append(Asked(entry_of(source, task, look, now), look.answer))
            continue
        look = Look(task.claim.fence, Answer.SHOWN, alone=reading.needs_look)
        entry = entry_of(source, task, look, response.sent_at)
        entry.reading = reading
        entry.http_status, entry.http_date = response.status, response.date
        entry.headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        take_part(entry, response.body, parts.get(task.claim.id), MANY)
        asked.append(Asked(entry, look.answer, response.status))
    return asked


def _log(source: Source, request: Request | None, found: AskedMany, message: str | None, seconds: float) -> None:
    log_event(
        "fetch-many",
        level="warning" if found.refused else "info",
        source=source.name,
        method=request.method if request else None,
        url=without_query(request.url) if request else None,
        status=found.asked[0].status,
        count=len(found.asked),
        told=sum(one.answer is Answer.SHOWN for one in found.asked),
        refused=found.refused or None,
        ms=round(seconds * 1000, 1),
        message=message,
    )
