"""Luma Dream Machine's generations (UPSTREAMS §5.5): unsigned deliveries that are tried for seconds only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Page, Probe, Request, Response, Unreadable
from receiver.providers.fields import text, word
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import instant
from receiver.providers.jsonbody import as_object, parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.luma_errors import ERRORS
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import file_at, files, submitted
from receiver.providers.windows import paged, windowed

_OK = frozenset({200, 201})  # a submission is answered with 201
_PAGE = 100
_GENERATIONS = "/generations"
_HOOK = "callback_url"

STATUSES: dict[str, Status] = {
    "queued": Status.SCHEDULED,
    "dreaming": Status.PROCESSING,
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
}


class Luma(Lacking):
    """The provider `luma`. Stateless; implements `receiver.providers.base.Provider`."""

    name = "luma"
    habits = Habits(
        poll=(5, 10, 30),  # not documented; videos take about a minute
        silence=timedelta(minutes=1),  # a lost delivery is not tried again: ask soon
        deadline=timedelta(minutes=30),
        # Three more tries 100 ms apart, 5 s each [doc: changelog/callbacks-and-credits-balance].
        retry_horizon=timedelta(seconds=21),
        default_base_url="https://api.lumalabs.ai/dream-machine/v1",
        blob_hosts=(),  # a CDN's; which is not documented, nor how long its URLs live
        trusts=(Trust.TOKEN, Trust.HINT, Trust.NONE),
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the URL's token; raise BadSignature when it is missing or wrong (R9)."""
        check_proofs(inbound, account, self.habits.trusts)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a delivery: the Generation. Raises Unreadable. A success without its file asks for a look."""
        document = parse_object(inbound.body)
        return _read(document, checked(document.get("id"), "id"))

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read the Generation that a submission is answered with, and/or the request. Raises Unreadable."""
        return submitted(answer, request, _read_answer, _described, _HOOK)

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GET /generations/{id}."""
        return _get(account, f"{_GENERATIONS}/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the Generation: a snapshot."""
        document = answered(response, account, _OK)
        if checked(document.get("id"), "the generation's id") != workflow_id:
            raise Unreadable("upstream answered with another generation than the one asked for")
        return _read(document, workflow_id, snapshot=True)

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """List generations by offset. No filter by time is documented: paging stops where the window begins."""
        return windowed(_get(account, _GENERATIONS, {"limit": str(_PAGE), "offset": "0"}), since, until)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read `{"generations", "count", "has_more", "limit", "offset"}`."""
        document = answered(response, account, _OK)
        items = document.get("generations")
        if type(items) is not list:
            raise Unreadable("the list of generations has no `generations`")
        given = parse_qs(urlsplit(asked.url).query).get("offset", ["0"])[0]
        offset = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 0
        further = {"offset": str(offset + len(items))} if document.get("has_more") is True else None
        return paged(asked, items, _read_listed, further)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """The account's credits, which need nothing but the key."""
        return (Probe("read the credits", _get(account, "/credits")),)


def _get(account: Account, path: str, query: dict[str, str] | None = None) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    url = account.base_url.rstrip("/") + path
    return Request("GET", f"{url}?{urlencode(query)}" if query else url, headers)


def _read(document: JsonObject, workflow_id: str, *, snapshot: bool = False) -> Reading:
    found = _observed(document)
    blobs = _blobs(document, workflow_id) if workflow_id else ()
    bare = found.status is Status.SUCCEEDED and not blobs
    return Reading(
        workflow_id,
        (found,),
        blobs,
        snapshot=snapshot,
        complete=snapshot,
        needs_look=not snapshot and (found.status is None or bare),
    )


def _observed(document: JsonObject) -> Observation:
    status = word(document, "state", "the generation's state")
    found: JsonObject = {
        name: document[name] for name in ("model", "generation_type") if text(document.get(name)) is not None
    }
    request = document.get("request")
    if type(request) is dict and request:
        found["request"] = {key: value for key, value in request.items() if key != _HOOK and value is not None}
    if text(document.get("failure_reason")):
        found["error"] = {"message": document["failure_reason"]}
    return Observation(
        Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        submitted_at=instant(document.get("created_at")),
        facts=found,
    )


def _blobs(document: JsonObject, workflow_id: str) -> tuple[BlobSeen, ...]:
    """The `assets`: `video`, `image`, and `progress_video`, which shows what is not finished yet."""
    assets = document.get("assets")
    named = files(assets) if type(assets) is dict else ()
    return tuple(file_at(workflow_id, slot, url) for slot, url in named if is_id(f"{workflow_id}~{slot}"))


def _read_listed(item: Any) -> Reading:
    document = as_object(item)
    return _read(document, checked(document.get("id"), "a generation's id"), snapshot=True)


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("id")
    return _read(document, "" if given is None else checked(given, "the answer's id"))


def _described(request: JsonObject) -> JsonObject:
    return {"model": request["model"]} if text(request.get("model")) else {}
