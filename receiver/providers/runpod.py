"""RunPod Serverless (UPSTREAMS §5.4): unsigned deliveries, records that vanish half an hour after the end.

Where to ask depends on the endpoint: `options.endpoint` of the source, or the locator `{"endpoint": …}` of a workflow.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Probe, Request, Response, Unreadable, UpstreamRefused
from receiver.providers.fields import NUMBER, text, word
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.jsonbody import parse, parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.output_urls import files_in
from receiver.providers.runpod_errors import ERRORS
from receiver.providers.signing import check_proofs
from receiver.providers.tasks import error_fact, submitted

_OK = frozenset({200})
# "Results are available for 30 minutes after completion" of a job sent to /run [doc: operation-reference].
_RECORD_LIVES = timedelta(minutes=30)

STATUSES: dict[str, Status] = {
    "IN_QUEUE": Status.SCHEDULED,
    "IN_PROGRESS": Status.PROCESSING,
    "RUNNING": Status.PROCESSING,  # in the documentation's list of states only
    "COMPLETED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "CANCELLED": Status.CANCELED,
    "TIMED_OUT": Status.EXPIRED,
}


class RunPod(Lacking):
    """The provider `runpod`. Stateless; implements `receiver.providers.base.Provider`."""

    name = "runpod"
    habits = Habits(
        poll=(2, 5, 10, 30),  # not documented
        silence=timedelta(minutes=2),  # well within the half hour that there is to fetch an output
        deadline=timedelta(minutes=30),
        # Two more tries, 10 s apart [doc: send-requests].
        retry_horizon=timedelta(seconds=30),
        default_base_url="https://api.runpod.ai/v2",
        blob_hosts=(),  # wherever the endpoint's own code puts files
        restartable=True,  # POST /retry/{id} keeps the id [doc: operation-reference]
        locator=("endpoint",),
        outputs_live=timedelta(minutes=30),  # /run keeps a result for so long [doc: send-requests]
        trusts=(Trust.TOKEN, Trust.HINT, Trust.NONE),
    )

    errors = ERRORS

    def account_problem(self, account: Account) -> str | None:
        """Say what is wrong with `options.endpoint` (`Particular`)."""
        endpoint = account.options.get("endpoint")
        if endpoint is not None and not is_id(endpoint):
            return 'options.endpoint must be the id of a Serverless endpoint, such as "abc123def456gh"'
        return None

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the URL's token; raise BadSignature when it is missing or wrong (R9)."""
        check_proofs(inbound, account, self.habits.trusts)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a delivery: the status object. Raises Unreadable.

        No instant is told; a delivery comes within seconds of the end, so the record's half hour counts from there.
        """
        document = parse_object(inbound.body)
        return _read(document, checked(document.get("id"), "id"), ended_by=inbound.received_at)

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read `{"id", "status"}` and/or the request; `endpoint` in either is taken for the locator."""
        return submitted(answer, request, _read_answer, _described, "webhook")

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GET /{endpoint}/status/{id}. Raises UpstreamRefused when nobody told the endpoint."""
        told = (locator.get("endpoint"), account.options.get("endpoint"))
        endpoint = next((str(each) for each in told if is_id(each)), None)
        if endpoint is None:
            message = "which endpoint this job belongs to is not known; track it with the locator `endpoint`, or set "
            raise UpstreamRefused(message + "options.endpoint of the source", status=0)
        return _get(account, f"/{quoted(endpoint)}/status/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the status object: a snapshot. After the record's time the answer is 404 (UpstreamGone), even mid-run.

        When a job ended is not told, so a look leaves the record's clock alone: it would only ever put it off.
        """
        document = answered(response, account, _OK)
        if checked(document.get("id"), "the job's id") != workflow_id:
            raise Unreadable("upstream answered with another job than the one asked for")
        return _read(document, workflow_id, snapshot=True)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """The endpoint's health (its workers and jobs), where the source names one."""
        endpoint = account.options.get("endpoint")
        return (Probe("health", _get(account, f"/{quoted(str(endpoint))}/health")),) if is_id(endpoint) else ()


def _get(account: Account, path: str) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    return Request("GET", account.base_url.rstrip("/") + path, headers)


def _read(
    document: JsonObject, workflow_id: str, *, snapshot: bool = False, ended_by: datetime | None = None
) -> Reading:
    found = _observed(document)
    return Reading(
        workflow_id,
        (found,),
        _blobs(document, workflow_id, found, ended_by),
        snapshot=snapshot,
        complete=snapshot,
        needs_look=found.status is None and not snapshot,
    )


def _observed(document: JsonObject) -> Observation:
    status = word(document, "status", "the job's status")
    usage = {name: document[name] for name in ("delayTime", "executionTime") if type(document.get(name)) in NUMBER}
    found: JsonObject = {"usage": usage} if usage else {}
    if text(document.get("workerId")):
        found["worker_id"] = document["workerId"]
    if type(document.get("input")) is dict and document["input"]:
        found["request"] = {"input": document["input"]}
    error = _error(document.get("error")) or ({"code": status} if status in ("TIMED_OUT", "CANCELLED") else None)
    if error is not None:
        found["error"] = error
    return Observation(Level.WORKFLOW, status=STATUSES.get(status) if status else None, word=status, facts=found)


def _error(value: Any) -> JsonObject | None:
    """A text, or the JSON text `{"error_type", "error_message", "error_traceback"}` that RunPod's own SDK makes."""
    told = value
    if text(value) and value.startswith("{"):
        try:
            told = parse(value.encode("utf-8", "replace"))
        except Unreadable:
            told = value
    if type(told) is dict and text(told.get("error_message")):
        return error_fact({"code": told.get("error_type"), "message": told["error_message"]})
    return error_fact(told if type(told) is dict else value)


def _blobs(
    document: JsonObject, workflow_id: str, found: Observation, ended_by: datetime | None
) -> tuple[BlobSeen, ...]:
    """The files named anywhere in the output; an output that names none is in the record itself, and goes with it."""
    if found.status is not Status.SUCCEEDED or not workflow_id or document.get("output") is None:
        return ()
    ends = None if ended_by is None else ended_by + _RECORD_LIVES
    blobs = files_in(workflow_id, document["output"])
    if not blobs and is_id(f"{workflow_id}~output"):
        blobs = (BlobSeen(f"{workflow_id}~output", slot="output", available=True),)
    return tuple(replace(blob, record_expires_at=ends) for blob in blobs)


def _located(document: JsonObject) -> JsonObject:
    endpoint = next((document[name] for name in ("endpoint", "endpoint_id") if is_id(document.get(name))), None)
    return {"locator": {"endpoint": endpoint}} if endpoint is not None else {}


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("id")
    reading = _read(document, "" if given is None else checked(given, "the answer's id"))
    found = reading.observations[0]
    located = replace(found, facts={**found.facts, **_located(document)})
    return replace(reading, observations=(located,), needs_look=found.word is not None and found.status is None)


def _described(request: JsonObject) -> JsonObject:
    return _located(request)
