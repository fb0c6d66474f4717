"""One check: ask upstream once, read the answer, and put it in at the ledger's door."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from receiver.ledger.entries import Answer, Entry, Look
from receiver.ledger.records import EvidenceKind, JsonObject, Reading
from receiver.logs import log_event, log_soon, without_query
from receiver.providers.base import (
    CredentialsRefused,
    ProviderError,
    Request,
    Response,
    Unreadable,
    UpstreamBusy,
    UpstreamGone,
    UpstreamRefused,
)
from receiver.reading import ASKED, BLOB, RENEWAL, read_renewal
from receiver.redaction import Redactor
from reconciler.brake import Trip
from reconciler.claiming import Task
from reconciler.pace import backoff, within_cap
from reconciler.plan import GiveUp, Relink
from reconciler.source import Source
from reconciler.transport import ElsewhereRefused

# What is kept of an answer's headers: what it was, when, and how upstream's support finds it again.
KEPT_HEADERS = ("content-type", "date", "retry-after", "location", "etag", "x-request-id", "request-id", "cf-ray")

TOO_MANY = 429

_ANSWERS: tuple[tuple[type[Exception], Answer], ...] = (
    (UpstreamGone, Answer.GONE),
    (UpstreamBusy, Answer.BUSY),
    (UpstreamRefused, Answer.REFUSED),
    (CredentialsRefused, Answer.CREDENTIALS),
    (Unreadable, Answer.UNREADABLE),
    (ElsewhereRefused, Answer.REFUSED),
)


@dataclass(slots=True)
class Asked:
    """What one try brought: the entry for the ledger, and the HTTP status when there was an answer.

    `sent` is False when no request was made after all. `trip` says that its source is to be stopped (`judging`).
    """

    entry: Entry
    answer: Answer
    status: int | None = None
    sent: bool = True
    trip: Trip | None = None


async def ask(source: Source, task: Task, redactor: Redactor, now: datetime) -> Asked:
    """Make one try at a claimed check (R15: one HTTP request per claim). Never raises for upstream's faults.

    `now` is the ledger's clock, for a try that sends nothing. Logs one line.
    """
    if isinstance(task.plan, GiveUp):
        message = "the tries of this round ended without an answer being recorded"
        look = Look(task.claim.fence, Answer.BUSY, message, evidence=False)
        log_event("gave-up", level="warning", source=source.name, id=task.claim.id, message=message)
        return Asked(entry_of(source, task, look, now), Answer.BUSY, sent=False)
    began = time.monotonic()
    response: Response | None = None
    reading: Reading | None = None
    request: Request | None = None
    blob: str | None = None
    error: Exception | None = None
    try:
        request, blob = _request(source, task)
        source.in_time(task.claim)
        response = await source.transport.send(request)
        reading = _read(source, task, blob, response)
    except (ProviderError, ElsewhereRefused) as problem:
        error = problem
    except Exception as problem:  # noqa: BLE001 - a provider's bug must not stop the others; the answer is kept
        log_event("provider-failed", level="error", error=problem, source=source.name, id=task.claim.id)
        error = Unreadable(f"the provider could not read the answer ({type(problem).__name__})")
    look = look_of(source, task, blob, error, redactor, answered=response is not None)
    asked = _asked(source, task, look, response, reading, now)
    asked.sent = request is not None
    _log(source, task, request, asked, time.monotonic() - began)
    return asked


def _request(source: Source, task: Task) -> tuple[Request, str | None]:
    """Return what to send, and the blob it is about when it is a renewal."""
    if isinstance(task.plan, Relink):
        request = source.provider.relink(task.claim.id, task.plan.blob_id, source.account)
        if request is not None:
            return request, task.plan.blob_id
    locator: JsonObject = (task.state.about.get("locator") if task.state is not None else None) or {}
    return source.provider.status_request(task.claim.id, source.account, locator), None


def _read(source: Source, task: Task, blob: str | None, response: Response) -> Reading:
    if blob is not None:
        return read_renewal(source.provider, task.claim.id, blob, response, source.account)
    return source.provider.read_status(task.claim.id, response, source.account)


def look_of(
    source: Source, task: Task, blob: str | None, error: Exception | None, redactor: Redactor, *, answered: bool
) -> Look:
    """Say how upstream answered, by fault.

    With a budget that all processes keep, a 429 is about the account: somebody else uses it too. Without one it may be
    about the way we ask, and counts as a try.
    """
    answer = Answer.SHOWN if error is None else next(word for kind, word in _ANSWERS if isinstance(error, kind))
    return Look(
        task.claim.fence,
        answer,
        redactor.text(str(error)) if error is not None else "",
        retry_after=within_cap(error.retry_after) if isinstance(error, UpstreamBusy) else None,
        backoff=backoff(task.claim.attempts, source.rng),
        evidence=answered,
        blob=blob,
        charged=source.budget is None or not isinstance(error, UpstreamBusy) or error.status != TOO_MANY,
    )


def _asked(
    source: Source, task: Task, look: Look, response: Response | None, reading: Reading | None, now: datetime
) -> Asked:
    if response is None:
        return Asked(entry_of(source, task, look, now), look.answer)
    entry = entry_of(source, task, look, response.sent_at)
    entry.reading = reading
    entry.http_status, entry.http_date = response.status, response.date
    entry.headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    if look.blob is not None:
        entry.headers |= {ASKED: RENEWAL, BLOB: look.blob}
    entry.body, entry.body_sha256 = response.body, sha256(response.body).hexdigest()
    source.offset.read(response.sent_at, response.received_at, response.date)
    return Asked(entry, look.answer, response.status)


def entry_of(source: Source, task: Task, look: Look, at: datetime) -> Entry:
    return Entry(
        source.name,
        source.policy,
        EvidenceKind.FETCH,
        at,
        workflow_id=task.claim.id,
        look=look,
        problem=look.message or None,
    )


def _log(source: Source, task: Task, request: Request | None, asked: Asked, seconds: float) -> None:
    log_soon(
        "fetch",
        source=source.name,
        id=task.claim.id,
        method=request.method if request else None,
        url=without_query(request.url) if request else None,
        status=asked.status,
        answer=str(asked.answer),
        attempt=task.claim.attempts,
        lane=task.claim.lane,
        ms=round(seconds * 1000, 1),
        message=asked.entry.problem,
    )
