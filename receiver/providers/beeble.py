"""Beeble's SwitchX API (UPSTREAMS §2): one task, one unsigned callback at its end, five reads a minute.

The newer Product API (UPSTREAMS §2.7) is known from third parties alone: its status words and its `dap_…` ids are read
where they come, its callbacks are not documented.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Page, Probe, Request, Response, Unreadable
from receiver.providers.beeble_errors import ERRORS
from receiver.providers.fields import Names, facts, percent, text, word
from receiver.providers.ids import checked, quoted
from receiver.providers.instants import instant
from receiver.providers.jsonbody import as_object, parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import error_fact, file_at, files, submitted
from receiver.providers.windows import paged, windowed

_OK = frozenset({200})
_JOBS = "/v1/switchx/generations"
_PRODUCT_JOBS = "/v1/product-jobs"
_PAGE = 100  # the most that `limit` may be
_HOOK = "callback_url"

# "URLs expire … download promptly"; two independent third-party readers of the docs say 72 h (UPSTREAMS §2.4).
_URL_LIVES = timedelta(hours=72)

STATUSES: dict[str, Status] = {
    "in_queue": Status.SCHEDULED,
    "processing": Status.PROCESSING,
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
    # The Product API's endings.
    "success": Status.SUCCEEDED,
    "cancelled": Status.CANCELED,
    "credit_required": Status.FAILED,
}

_NAMES: Names = {"model": ("model", (str,)), "metadata": ("metadata", (dict,)), "usage": ("usage", (dict,))}
_TAKEN = frozenset({"id", "status", "progress", "output", "outputs", "error", "created_at", "completed_at", _HOOK})


class Beeble(Lacking):
    """The provider `beeble`. Stateless; implements `receiver.providers.base.Provider`.

    No link is renewed by itself: a look signs all of a job's URLs afresh.
    """

    name = "beeble"
    habits = Habits(
        # 5 reads a minute for the whole account are one every 12 s for all its jobs together [doc: rate-limits].
        poll=(12, 30, 60, 120),
        silence=timedelta(minutes=5),
        deadline=timedelta(hours=1),
        # Attempts at 0, 1, 5, 30 and 120 s, 10 s each [doc: webhooks].
        retry_horizon=timedelta(seconds=206),
        default_base_url="https://api.beeble.ai",
        blob_hosts=("beeble.ai",),
        trusts=(Trust.TOKEN, Trust.HINT, Trust.NONE),  # nothing is signed
        bulk_size=_PAGE,
        budget="5/min",
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the URL's token; raise BadSignature when it is missing or wrong (R9)."""
        check_proofs(inbound, account, self.habits.trusts)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read the callback that ends a job [doc: webhooks]. Raises Unreadable.

        `{id, status, completed_at, output{render, source, alpha} | error}`, where `error` is a sentence. An ending that
        is no status we know, or a success without files, asks for a look.
        """
        document = parse_object(inbound.body)
        workflow_id = checked(document.get("id"), "id")
        found = _observed(document, event=True)
        blobs = _blobs(document, workflow_id, found.completed_at or inbound.received_at)
        thin = found.status is None or (found.status is Status.SUCCEEDED and not blobs)
        return Reading(workflow_id, (found,), blobs, needs_look=thin)

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read the answer to POST generations, which may be a bare `{id}`, and/or the request. Raises Unreadable.

        A request sent again with its `idempotency_key` is answered with the job as it is by then, files and all.
        """
        return submitted(answer, request, _read_answer, _described, _HOOK)

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask for one job; a Product API's job lives elsewhere [3p]."""
        path = _PRODUCT_JOBS if workflow_id.startswith("dap_") else _JOBS
        return _get(account, f"{path}/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the status object. Its URLs are signed afresh by this very answer [3p: griptape, from the OpenAPI]."""
        document = answered(response, account, _OK)
        if checked(document.get("id"), "the job's id") != workflow_id:
            raise Unreadable("upstream answered with another job than the one asked for")
        blobs = _blobs(document, workflow_id, response.date or response.sent_at)
        return Reading(workflow_id, (_observed(document),), blobs, snapshot=True, complete=True)

    def bulk_status(self, workflow_ids: Sequence[str], account: Account) -> Request | None:
        """Ask for the newest 100 jobs: one read that answers for those of the ids it happens to hold."""
        return _get(account, _JOBS, {"limit": str(_PAGE)}) if workflow_ids else None

    def read_bulk(self, response: Response, account: Account) -> tuple[Reading, ...]:
        """Read the list, whichever jobs it holds; those that were not asked for are among them."""
        return self.read_list(response, account, Request("GET", account.base_url)).readings

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """List jobs. There is no filter by time: paging stops where the window begins."""
        return windowed(_get(account, _JOBS, {"limit": str(_PAGE)}), since, until)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read `{"jobs": [...], "next_page_token": str | null}`: status objects like the one of a single job."""
        document = answered(response, account, _OK)
        jobs = document.get("jobs")
        if type(jobs) is not list:
            raise Unreadable("the list of jobs has no `jobs`")
        token = text(document.get("next_page_token"))
        further = {"page_token": token} if token else None
        return paged(asked, jobs, lambda job: _read_listed(job, response.date or response.sent_at), further)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """The account's own limits and usage, which needs nothing but the key."""
        return (Probe("account info", _get(account, "/v1/account/info")),)


def _get(account: Account, path: str, query: dict[str, str] | None = None) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["x-api-key"] = account.api_key
    url = account.base_url.rstrip("/") + path
    return Request("GET", f"{url}?{urlencode(query)}" if query else url, headers)


def _observed(document: JsonObject, *, event: bool = False) -> Observation:
    """What a status object or a callback says. An event's ending happened at `completed_at`, upstream's clock."""
    status = word(document, "status", "the job's status")
    meaning = STATUSES.get(status) if status else None
    found = facts(document, _NAMES, _TAKEN)
    error = error_fact(document.get("error"))
    if status == "credit_required":
        error = {"code": status, **(error or {})}
    if error is not None:
        found["error"] = error
    completed_at = instant(document.get("completed_at"))
    return Observation(
        Level.WORKFLOW,
        status=meaning,
        word=status,
        upstream_at=completed_at if event and meaning is not None and meaning.terminal else None,
        completed_at=completed_at,
        submitted_at=instant(document.get("created_at")),
        progress=percent(document.get("progress")),
        facts=found,
    )


def _blobs(
    document: JsonObject, workflow_id: str, signed_at: datetime | None, now: datetime | None = None
) -> tuple[BlobSeen, ...]:
    """The files of `output` (`outputs` in the Product API), by name: `render`, `source`, `alpha`.

    Their URLs last 72 h from `signed_at`, unless they say otherwise themselves. With `now`, URLs that may have ended by
    then are left out: their being there is all that is told.
    """
    ends = _later(signed_at)
    stale = now is not None and (ends is None or ends <= now)
    found: dict[str, BlobSeen] = {}
    for name in ("output", "outputs"):
        for slot, url in files(document.get(name)):
            seen = file_at(workflow_id, slot, url, url_expires_at=ends, hidden=stale)
            found.setdefault(seen.id, seen)
    return tuple(found.values())


def _later(signed_at: datetime | None) -> datetime | None:
    return None if signed_at is None else signed_at + _URL_LIVES


def _read_listed(job: Any, now: datetime) -> Reading:
    """One job of the list. Whether a list signs URLs afresh is not documented: they count from the job's end."""
    document = as_object(job)
    workflow_id = checked(document.get("id"), "a job's id")
    found = _observed(document)
    return Reading(
        workflow_id, (found,), _blobs(document, workflow_id, found.completed_at, now), snapshot=True, complete=True
    )


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("id")
    workflow_id = "" if given is None else checked(given, "the answer's id")
    found = _observed(document)
    blobs = _blobs(document, workflow_id, found.completed_at) if workflow_id else ()
    return Reading(workflow_id, (found,), blobs, needs_look=found.word is not None and found.status is None)


def _described(request: JsonObject) -> JsonObject:
    return facts(
        {key: request[key] for key in ("model", "generation_type", "alpha_mode", "seed") if key in request},
        _NAMES,
        frozenset(),
    )
