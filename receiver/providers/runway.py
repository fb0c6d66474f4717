"""Runway's tasks (UPSTREAMS §5.7): no deliveries at all, so the reconciler's looks are all there is."""

from __future__ import annotations

from datetime import datetime, timedelta

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Probe, Request, Response, Unreadable
from receiver.providers.fields import fraction, text, word
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import instant
from receiver.providers.lacking import Lacking
from receiver.providers.runway_errors import ERRORS
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import file_at, files, submitted

_OK = frozenset({200})
_VERSION = "2024-11-06"  # the API's, which every request must name
# "These URLs will expire within 24-48 hours; fetch the task again to get fresh URLs" [spec: task_retrieve_response].
_URLS_LIVE = timedelta(hours=24)

STATUSES: dict[str, Status] = {
    "PENDING": Status.SCHEDULED,
    "THROTTLED": Status.SCHEDULED,  # waits for another task of the account to end
    "RUNNING": Status.PROCESSING,
    "SUCCEEDED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELED,
}


class Runway(Lacking):
    """The provider `runway`. Stateless; implements `receiver.providers.base.Provider`."""

    name = "runway"
    habits = Habits(
        poll=(5, 5, 10, 15, 30),  # no updates more often than every five seconds [spec: resources/tasks]
        silence=timedelta(seconds=30),
        deadline=timedelta(hours=1),
        retry_horizon=timedelta(0),
        default_base_url="https://api.dev.runwayml.com/v1",
        blob_hosts=(),
        trusts=(Trust.NONE,),
    )

    errors = ERRORS

    def account_problem(self, account: Account) -> str | None:
        """Say what is wrong with `options.version` (`Particular`)."""
        version = account.options.get("version")
        if version is not None and not (text(version) and version.isascii() and version.isprintable()):
            return f'options.version must be a version of Runway\'s API, such as "{_VERSION}"'
        return None

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Raise BadSignature: Runway delivers nothing."""
        check_proofs(inbound, account, self.habits.trusts)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Raise Unreadable: Runway delivers nothing."""
        raise Unreadable("runway sends no deliveries")

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read `{"id"}`, all that a submission is answered with, and/or the request. Raises Unreadable."""
        return submitted(answer, request, _read_answer, _described, "webhook")

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GET /tasks/{id}."""
        return _get(account, f"/tasks/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the task: a snapshot. Its URLs are fresh with every answer."""
        document = answered(response, account, _OK)
        if checked(document.get("id"), "the task's id") != workflow_id:
            raise Unreadable("upstream answered with another task than the one asked for")
        return _read(document, workflow_id, snapshot=True, fresh_at=response.sent_at)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """The organization: its tier, usage and credits, which need nothing but the key."""
        return (Probe("read the organization", _get(account, "/organization")),)


def _get(account: Account, path: str) -> Request:
    headers = {
        "accept": "application/json",
        "x-runway-version": text(account.options.get("version")) or _VERSION,
    }
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    return Request("GET", account.base_url.rstrip("/") + path, headers)


def _read(
    document: JsonObject, workflow_id: str, *, snapshot: bool = False, fresh_at: datetime | None = None
) -> Reading:
    status = word(document, "status", "the task's status")
    facts: JsonObject = {}
    error = {
        name: told
        for name, told in (
            ("code", text(document.get("failureCode")) or ("CANCELLED" if status == "CANCELLED" else None)),
            ("message", text(document.get("failure"))),
        )
        if told is not None
    }
    if error:
        facts["error"] = error
    cost = document.get("cost")
    if type(cost) is dict and cost:
        facts["usage"] = cost
    found = Observation(
        Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        submitted_at=instant(document.get("createdAt")),
        progress=fraction(document.get("progress")),
        facts=facts,
    )
    blobs = _blobs(document, workflow_id, fresh_at) if workflow_id else ()
    return Reading(workflow_id, (found,), blobs, snapshot=snapshot, complete=snapshot)


def _blobs(document: JsonObject, workflow_id: str, fresh_at: datetime | None) -> tuple[BlobSeen, ...]:
    ends = None if fresh_at is None else fresh_at + _URLS_LIVE
    return tuple(
        file_at(workflow_id, slot, url, url_expires_at=ends)
        for slot, url in files(document.get("output"))
        if is_id(f"{workflow_id}~{slot}")
    )


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("id")
    return _read(document, "" if given is None else checked(given, "the answer's id"))


def _described(request: JsonObject) -> JsonObject:
    return {"model": request["model"]} if text(request.get("model")) else {}
