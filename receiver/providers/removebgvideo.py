"""RemoveBGVideo (UPSTREAMS §4): who is speaking, what to ask, and what the answers say.

Its deliveries, whose bodies are not documented, are read in `removebgvideo_events`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from receiver.ledger.records import JsonObject, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Page, Probe, Request, Response, Unreadable
from receiver.providers.ids import checked, quoted
from receiver.providers.jsonbody import as_object, parse
from receiver.providers.lacking import Lacking
from receiver.providers.removebgvideo_errors import ERRORS
from receiver.providers.removebgvideo_events import DELIVERY_ID, EVENT, read_event
from receiver.providers.removebgvideo_job import HOOK, described, job_in, named, observed, output
from receiver.providers.schemes import SHA256_TIMESTAMPED
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import submitted
from receiver.providers.windows import paged, windowed

_OK = frozenset({200})
_JOBS = "/v1/jobs"
# The default [spec: R-py]. The most it may be is not documented, and a server that silently gives fewer than were asked
# for would look like one that has no more.
_PAGE = 20
_LISTS = ("jobs", "data", "items", "results")


class RemoveBGVideo(Lacking):
    """The provider `removebgvideo`. Stateless; implements `receiver.providers.base.Provider`.

    No read for many: the list's form is not documented well enough. No link is renewed by itself: a look shows the
    job's URL again, and `/api/download` tells no more (UPSTREAMS §4.5).
    """

    name = "removebgvideo"
    habits = Habits(
        poll=(2, 5, 10),  # [doc: public-api-workflow]
        silence=timedelta(minutes=2),
        deadline=timedelta(minutes=30),
        retry_horizon=timedelta(minutes=5),  # retries are not documented; a guess on the patient side
        default_base_url="https://api.removebgvideo.com",
        blob_hosts=("removebgvideo.com",),
        restartable=True,  # POST /v1/jobs/{id}/start on a failed id (UPSTREAMS §4.3)
        trusts=(Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE),
        # The body may be empty: then these are all that tells one event from another.
        identity_headers=(EVENT, DELIVERY_ID),
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check `X-Webhook-Signature` where the source has a secret, and the URL's token; raise BadSignature (R9).

        Upstream signs only when a secret is configured on its side: without one here, an absent signature is no fault.
        """
        check_proofs(inbound, account, self.habits.trusts, (SHA256_TIMESTAMPED,))

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a delivery of any plausible shape. Raises Unreadable. The id may be '': then the URL's `ref` decides."""
        return read_event(inbound, signed=account.trust is Trust.SIGNED)

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read `{success, id, status, message}`, as creating and starting a job answer, and/or the request.

        A draft (`auto_start` false) is `created`. Raises Unreadable.
        """
        return submitted(answer, request, _read_answer, described, HOOK)

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask for one job."""
        return _get(account, f"{_JOBS}/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the job: flat as documented, or inside `job` or `data` as some answers of this API are."""
        job = job_in(answered(response, account, _OK))
        if checked(named(job), "the job's id") != workflow_id:
            raise Unreadable("upstream answered with another job than the one asked for")
        return Reading(workflow_id, (observed(job),), output(job, workflow_id), snapshot=True, complete=True)

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """List jobs [spec: R-py]. There is no filter by time: paging stops where the window begins."""
        return windowed(_get(account, _JOBS, {"limit": str(_PAGE), "offset": "0"}), since, until)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read one page. Its envelope is not documented: a bare list, or one under a usual name, also inside `data`."""
        items = _items(response, account)
        query = parse_qs(urlsplit(asked.url).query)
        start = query.get("offset", ["0"])[0]
        offset = int(start) if start.isascii() and start.isdecimal() and len(start) < 10 else 0
        further = {"offset": str(offset + len(items))} if len(items) >= _PAGE else None
        return paged(asked, items, _read_listed, further)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """`/health` and `/api/pricing`, which upstream's own checklist names and which need no key; the key's usage."""
        base = account.base_url.rstrip("/")
        open_to_all = [
            Probe(name, Request("GET", base + path, {"accept": "application/json"}))
            for name, path in (("health", "/health"), ("pricing", "/api/pricing"))
        ]
        return (*open_to_all, Probe("usage summary", _get(account, "/v1/usage/summary", {"days": "1"})))


def _get(account: Account, path: str, query: dict[str, str] | None = None) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["x-api-key"] = account.api_key
    url = account.base_url.rstrip("/") + path
    return Request("GET", f"{url}?{urlencode(query)}" if query else url, headers)


def _items(response: Response, account: Account) -> list[Any]:
    if response.status == 200 and response.body.lstrip()[:1] == b"[":
        bare = parse(response.body)
        if type(bare) is list:
            return bare
    document = answered(response, account, _OK)
    inner = document.get("data")
    for holder in (document, inner if type(inner) is dict else {}):
        for name in _LISTS:
            if type(holder.get(name)) is list:
                found: list[Any] = holder[name]
                return found
    raise Unreadable(f"the list of jobs is under none of {', '.join(_LISTS)}")


def _read_listed(item: Any) -> Reading:
    """One job of the list. Which of its fields a list leaves out is not documented."""
    job = as_object(item)
    workflow_id = checked(named(job), "a job's id")
    found, blobs = observed(job), output(job, workflow_id)
    bare = found.status is Status.SUCCEEDED and not blobs
    unexplained = found.status is Status.FAILED and "error" not in found.facts
    return Reading(workflow_id, (found,), blobs, snapshot=True, complete=bool(blobs), needs_look=bare or unexplained)


def _read_answer(document: JsonObject) -> Reading:
    job = job_in(document)
    given = named(job)
    workflow_id = "" if given is None else checked(given, "the answer's id")
    found = observed(job)
    return Reading(
        workflow_id, (found,), output(job, workflow_id), needs_look=bool(found.word) and found.status is None
    )
