"""OpenRouter's video generations (UPSTREAMS §5.8): one signed delivery at the end, with a comma in what is signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.advice import Fault
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Probe, Request, Response, Unreadable
from receiver.providers.envelopes import read_fault
from receiver.providers.fields import Names, facts, text, word
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import from_unix, instant
from receiver.providers.jsonbody import parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.openrouter_errors import ERRORS
from receiver.providers.schemes import OPENROUTER
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import MAX_FILES, error_fact, file_at, submitted, web_url

_OK = frozenset({200})
_ANSWERED = frozenset({200, 202})  # a submission is answered with 202
_IDEMPOTENCY = "x-openrouter-idempotency-key"
_EVENT = "video.generation."

STATUSES: dict[str, Status] = {
    "pending": Status.SCHEDULED,
    "in_progress": Status.PROCESSING,
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELED,
    "expired": Status.EXPIRED,
}

_NAMES: Names = {
    "model": ("model", (str,)),
    "usage": ("usage", (dict,)),
    "generation_id": ("generation_id", (str,)),
}
_TAKEN = frozenset(
    {"id", "status", "error", "unsigned_urls", "urls", "polling_url", "callback_url", "created_at", "completed_at"}
)


class OpenRouter(Lacking):
    """The provider `openrouter`. Stateless; implements `receiver.providers.base.Provider`.

    No listing of generations is documented.
    """

    name = "openrouter"
    habits = Habits(
        poll=(30,),  # "every 10-30 seconds" [doc: api_reference/videos]; videos take minutes
        silence=timedelta(minutes=5),
        deadline=timedelta(hours=1),
        retry_horizon=timedelta(minutes=10),  # not documented: a guess that only decides what counts as missed
        default_base_url="https://openrouter.ai/api/v1",
        # `unsigned_urls` are OpenRouter's own or those of whoever made the video: no list of hosts is documented.
        blob_hosts=(),
        trusts=(Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE),
        identity_headers=(_IDEMPOTENCY,),
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check `X-OpenRouter-Signature` and/or the URL's token (R9); raise BadSignature."""
        check_proofs(inbound, account, self.habits.trusts, (OPENROUTER,))

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read `{type, created_at, data: {id, status, …}}`. Raises Unreadable.

        The status is the word in `data`, else the one in the type. A success without files asks for a look.
        """
        event = parse_object(inbound.body)
        data = event.get("data")
        if type(data) is not dict:
            raise Unreadable("the body is not an OpenRouter event: it needs `data`")
        workflow_id = checked(data.get("id"), "data.id")
        kind = word(event, "type", "the event's type") or ""
        named = kind.removeprefix(_EVENT) if kind.startswith(_EVENT) else ""
        document = data if data.get("status") is not None else {**data, "status": named}
        at = instant(event.get("created_at")) or from_unix(event.get("created_at"))
        found = _observed(document, upstream_at=at)
        blobs = _blobs(document, workflow_id)
        return Reading(
            workflow_id,
            (found,),
            blobs,
            identity=_identity(inbound),
            needs_look=found.status is None or (found.status is Status.SUCCEEDED and not blobs),
        )

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read `{id, polling_url, status}` and/or the request. Raises Unreadable."""
        return submitted(answer, request, _read_answer, _described, "callback_url")

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GET /videos/{id}; the submission's `polling_url` says the same, and is not followed."""
        return _get(account, f"/videos/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the generation: a snapshot."""
        document = answered(response, account, _ANSWERED)
        if checked(document.get("id"), "the generation's id") != workflow_id:
            raise Unreadable("upstream answered with another generation than the one asked for")
        blobs = _blobs(document, workflow_id)
        return Reading(workflow_id, (_observed(document),), blobs, snapshot=True, complete=True)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """The key's own limits and usage [doc: api-reference/api-keys]."""
        return (Probe("read the key", _get(account, "/key")),)

    def read_error(self, http: int, body: bytes) -> Fault:
        """Read `{"error": {"code": int, "message", "metadata"}}`; a code that only repeats the status is left out."""
        fault = read_fault(body)
        return Fault(None, fault.message, fault.request_id, fault.fields) if fault.code == str(http) else fault


def _get(account: Account, path: str) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    return Request("GET", account.base_url.rstrip("/") + path, headers)


def _identity(inbound: Inbound) -> str:
    value = inbound.headers.get(_IDEMPOTENCY, "")
    return value if len(value) <= 256 and value.isprintable() else ""


def _observed(document: JsonObject, *, upstream_at: datetime | None = None) -> Observation:
    status = word(document, "status", "the generation's status")
    found = facts(document, _NAMES, _TAKEN)
    error = error_fact(document.get("error"))
    if error is None and status in ("expired", "cancelled"):
        error = {"code": status}
    if error is not None:
        found["error"] = error
    return Observation(
        Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        upstream_at=upstream_at,
        completed_at=instant(document.get("completed_at")),
        submitted_at=instant(document.get("created_at")) or from_unix(document.get("created_at")),
        facts=found,
    )


def _blobs(document: JsonObject, workflow_id: str) -> tuple[BlobSeen, ...]:
    """The videos, by place. Newer answers have signed `urls` beside `unsigned_urls`, which want our key."""
    signed, unsigned = (_listed(document.get(key)) for key in ("urls", "unsigned_urls"))
    found = []
    for place in range(max(len(signed), len(unsigned))):
        url = next((each[place] for each in (signed, unsigned) if place < len(each) and each[place]), None)
        if url is not None and is_id(f"{workflow_id}~{place}"):
            found.append(replace(file_at(workflow_id, str(place), url), type="video"))
    return tuple(found)


def _listed(value: object) -> list[str | None]:
    return [web_url(each) for each in islice(value, MAX_FILES)] if type(value) is list else []


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("id")
    workflow_id = "" if given is None else checked(given, "the answer's id")
    found = _observed(document)
    blobs = _blobs(document, workflow_id) if workflow_id else ()
    return Reading(workflow_id, (found,), blobs, needs_look=found.word is not None and found.status is None)


def _described(request: JsonObject) -> JsonObject:
    return {"model": request["model"]} if text(request.get("model")) else {}
