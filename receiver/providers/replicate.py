"""Replicate's predictions (UPSTREAMS §5.1): signed deliveries of the whole object, outputs that live one hour."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Page, Probe, Request, Response, Unreadable
from receiver.providers.fields import Names, facts, text, word
from receiver.providers.ids import checked, quoted
from receiver.providers.instants import instant
from receiver.providers.jsonbody import as_object, parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.output_urls import files_in
from receiver.providers.replicate_errors import ERRORS
from receiver.providers.schemes import STANDARD_V1
from receiver.providers.signing import check_proofs, delivery_id, secrets_problem
from receiver.providers.tasks import error_fact, submitted
from receiver.providers.windows import paged, windowed

_OK = frozenset({200})
_PREDICTIONS = "/predictions"
# Input, output, files and logs of predictions made with the API are deleted after an hour [doc: data retention].
_MEDIA_LIVES = timedelta(hours=1)

STATUSES: dict[str, Status] = {
    "starting": Status.SCHEDULED,
    "processing": Status.PROCESSING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,
    "aborted": Status.CANCELED,  # only in the SDK's type: canceled before it started
}

_NAMES: Names = {
    "model": ("model", (str,)),
    "metrics": ("usage", (dict,)),
    "version": ("version", (str,)),
    "source": ("source", (str,)),
}
# `webhook` is the URL that carries our tokens. Logs and outputs can be long, and stay in the evidence.
_TAKEN = frozenset(
    {
        *("id", "status", "input", "output", "error", "logs", "urls", "webhook", "webhook_events_filter"),
        *("created_at", "started_at", "completed_at"),
    }
)
_HOOKS = frozenset({"webhook", "webhook_completed", "webhook_events_filter"})
# What tqdm writes, as Replicate's own clients read it: ` 40%|████      | 20/50 [00:01<00:02]`.
_PERCENT = re.compile(r"(\d{1,3})%\|", re.ASCII)
_TAIL = 2000  # characters of the logs; the last line is what counts


class Replicate(Lacking):
    """The provider `replicate`. Stateless; implements `receiver.providers.base.Provider`.

    An output's URL is the same until the file is deleted, and then nothing brings it back. Deliveries are signed with a
    shared secret, which `GET /webhooks/default/secret` shows.
    """

    name = "replicate"
    habits = Habits(
        poll=(2, 5, 10, 30),  # not documented; predictions take seconds to minutes
        silence=timedelta(minutes=2),
        deadline=timedelta(minutes=30),
        # Only the last webhook is tried again, the last time about a minute after the end [doc: receive-webhook].
        retry_horizon=timedelta(minutes=1),
        default_base_url="https://api.replicate.com/v1",
        blob_hosts=("replicate.delivery",),
        trusts=(Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE),
        identity_headers=("webhook-id",),  # the same for every try [doc: receive-webhook]
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the Standard Webhooks signature and/or the URL's token (R9); raise BadSignature.

        The time is checked too, which Replicate's own JavaScript helper leaves out.
        """
        check_proofs(inbound, account, self.habits.trusts, (STANDARD_V1,))

    def account_problem(self, account: Account) -> str | None:
        """Say which signing secret cannot be one (`Particular`)."""
        return secrets_problem((STANDARD_V1,), account)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a prediction as it is delivered: there is no type of event, `status` says it all. Raises Unreadable."""
        document = parse_object(inbound.body)
        workflow_id = checked(document.get("id"), "id")
        return _read(document, workflow_id, identity=delivery_id(STANDARD_V1, inbound))

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read the prediction that a submission is answered with, and/or the request. Raises Unreadable."""
        kept = None if request is None else {key: value for key, value in request.items() if key not in _HOOKS}
        return submitted(answer, kept, _read_answer, _described, "webhook")

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GET /predictions/{id}."""
        return _get(account, f"{_PREDICTIONS}/{quoted(workflow_id)}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the prediction: a snapshot. With `data_removed` its output is gone for good."""
        document = answered(response, account, _OK)
        if checked(document.get("id"), "the prediction's id") != workflow_id:
            raise Unreadable("upstream answered with another prediction than the one asked for")
        return _read(document, workflow_id, snapshot=True)

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """List predictions, newest first. No filter by time is documented: paging stops where the window begins."""
        return windowed(_get(account, _PREDICTIONS), since, until)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read `{"previous", "next", "results"}`. Of `next`, a URL, only the cursor is taken: the rest is ours."""
        document = answered(response, account, _OK)
        results = document.get("results")
        if type(results) is not list:
            raise Unreadable("the list of predictions has no `results`")
        cursor = _cursor(document.get("next"))
        return paged(asked, results, _read_listed, None if cursor is None else {"cursor": cursor})

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """The account the token belongs to, which needs nothing but the token."""
        return (Probe("read the account", _get(account, "/account")),)


def _get(account: Account, path: str) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    return Request("GET", account.base_url.rstrip("/") + path, headers)


def _read(document: JsonObject, workflow_id: str, *, snapshot: bool = False, identity: str = "") -> Reading:
    found = _observed(document)
    return Reading(
        workflow_id,
        (found,),
        _blobs(document, workflow_id, found),
        snapshot=snapshot,
        # Without its output (removed, or left out of a list) it does not say that there are no files.
        complete=snapshot and "output" in document and document.get("data_removed") is not True,
        identity=identity,
        needs_look=not snapshot and found.status is None,
    )


def _observed(document: JsonObject) -> Observation:
    """What a prediction says.

    No `upstream_at`: its instants tell when it was made, started and ended, but a delivery of `processing` comes again
    and again and carries no time of its own.
    """
    status = word(document, "status", "the prediction's status")
    found = facts(document, _NAMES, _TAKEN)
    if type(document.get("input")) is dict and document["input"]:
        found["request"] = {"input": document["input"]}
    error = error_fact(document.get("error"))
    if error is not None:
        found["error"] = error
    elif status in ("canceled", "aborted"):
        found["error"] = {"code": status}
    return Observation(
        Level.WORKFLOW,
        status=STATUSES.get(status) if status else None,
        word=status,
        started_at=instant(document.get("started_at")),
        completed_at=instant(document.get("completed_at")),
        submitted_at=instant(document.get("created_at")),
        progress=_progress(document.get("logs")),
        facts=found,
    )


def _blobs(document: JsonObject, workflow_id: str, found: Observation) -> tuple[BlobSeen, ...]:
    """The files anywhere in `output`. The API's are deleted an hour after the end, those of `source: web` are not."""
    kept = document.get("source") == "web"
    ends = None if kept or found.completed_at is None else found.completed_at + _MEDIA_LIVES
    return files_in(workflow_id, document.get("output"), media_expires_at=ends)


def _progress(logs: Any) -> float | None:
    said = _PERCENT.findall(logs[-_TAIL:]) if type(logs) is str else []
    return min(1.0, int(said[-1]) / 100) if said else None


def _cursor(url: Any) -> str | None:
    if not text(url) or len(url) > 8192:
        return None
    try:
        return text(parse_qs(urlsplit(url).query).get("cursor", [""])[0])
    except ValueError:
        return None


def _read_listed(item: Any) -> Reading:
    document = as_object(item)
    return _read(document, checked(document.get("id"), "a prediction's id"), snapshot=True)


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("id")
    if given is None:
        found = _observed(document)
        return Reading("", (found,), needs_look=found.word is not None and found.status is None)
    return _read(document, checked(given, "the answer's id"))


def _described(request: JsonObject) -> JsonObject:
    return {name: request[name] for name in ("model", "version") if text(request.get(name))}
