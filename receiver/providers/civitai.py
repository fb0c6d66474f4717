"""Civitai's Orchestration API (UPSTREAMS §1): who is speaking, what to ask, and what the answers say.

Its events are read in `civitai_events`, its documents in `civitai_workflow`, its output files in `civitai_outputs`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.providers.answers import answered
from receiver.providers.base import (
    Account,
    BadSignature,
    Habits,
    Inbound,
    Page,
    Probe,
    Request,
    Response,
    Unreadable,
)
from receiver.providers.civitai_errors import ERRORS
from receiver.providers.civitai_events import read_event
from receiver.providers.civitai_outputs import blob
from receiver.providers.civitai_workflow import described, read_workflow
from receiver.providers.fields import flag, rows, text
from receiver.providers.ids import checked, quoted
from receiver.providers.instants import rfc3339
from receiver.providers.jsonbody import strict
from receiver.providers.lacking import Lacking
from receiver.providers.tokens import check_token

_OK = frozenset({200})
_STATUS = frozenset({200, 202})  # 202 is "still running": the body says the same, and decides (UPSTREAMS §1.4)
_WORKFLOWS = "/v2/consumer/workflows"
_BLOBS = "/v2/consumer/blobs"
_PAGE = 100


class Civitai(Lacking):
    """The provider `civitai`. Stateless; implements `receiver.providers.base.Provider`.

    QueryWorkflows filters by tag and date, not by ids, so there is no read for many.
    """

    name = "civitai"
    habits = Habits(
        poll=(2, 5, 10, 15, 30),  # [doc: results-and-webhooks]
        silence=timedelta(minutes=2),
        deadline=timedelta(minutes=30),
        # Not documented; .NET's standard resilience handler gives up after 30 s in all (UPSTREAMS §1.7).
        retry_horizon=timedelta(seconds=30),
        default_base_url="https://orchestration.civitai.com",
        # orchestration, orchestration-new, -dev and -proxy have all been seen in blob URLs (UPSTREAMS §1.1).
        blob_hosts=("civitai.com",),
        trusts=(Trust.TOKEN, Trust.HINT, Trust.NONE),  # nothing is signed
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the URL's token; raise BadSignature when it is missing or wrong (R9).

        Trust `hint` asks for it too where the source has tokens: every configured proof is required.
        """
        if account.trust is Trust.TOKEN or (account.trust is Trust.HINT and account.hook_tokens):
            check_token(inbound.query, account.hook_tokens)
        elif account.trust is not Trust.HINT:
            raise BadSignature(f"civitai deliveries cannot be believed with trust '{account.trust}'")

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a workflow, step or job event. Raises Unreadable."""
        return read_event(inbound.body)

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read the answer to SubmitWorkflow and/or the template that was sent. Raises Unreadable.

        The answer counts as an event, not as a look of ours: it may be old by the time it is handed in. Of the template
        everything is kept as the fact `request` except `callbacks`, which carry our hook tokens.
        """
        if answer is None and request is None:
            raise Unreadable("there is neither a submit answer nor a request to read")
        reading = Reading(workflow_id="", observations=(Observation(Level.WORKFLOW),))
        if answer is not None:
            document = strict(answer)
            given = document.get("id")  # null for `whatif` submissions
            reading = read_workflow(
                document, "" if given is None else checked(given, "the answer's id"), snapshot=False
            )
        return reading if request is None else _with_template(reading, strict(request))

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask GetWorkflow, without `wait`. Mature content is asked for, or its URLs would be left out."""
        query = {"hideMatureContent": "false"}
        return _get(account, f"{_WORKFLOWS}/{quoted(workflow_id)}", query)

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read GetWorkflow's answer: a snapshot, complete as `read_workflow` says."""
        document = answered(response, account, _STATUS)
        if checked(document.get("id"), "the workflow's id") != workflow_id:
            raise Unreadable("upstream answered with another workflow than the one asked for")
        return read_workflow(document, workflow_id, snapshot=True)

    def relink(self, workflow_id: str, blob_id: str, account: Account) -> Request | None:
        """Ask RefreshBlob for a fresh URL. It also restarts upstream's 30-day clock for the file (R17).

        GetBlob would do without that, but answers 308 to another host, and only to our credentials.
        """
        return replace(_get(account, f"{_BLOBS}/{quoted(blob_id)}/refresh", {}), method="POST")

    def read_relink(self, workflow_id: str, response: Response, account: Account) -> BlobSeen:
        """Read RefreshBlob's answer. 404 (UpstreamGone) means that the file is gone for good."""
        return blob(answered(response, account, _OK))

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """Ask QueryWorkflows for what was created from `since` to `until`, oldest first, 100 a page."""
        query = {
            "fromDate": rfc3339(since),
            "toDate": rfc3339(until),
            "take": str(_PAGE),
            "hideMatureContent": "false",
            "ascending": "true",
        }
        return _get(account, _WORKFLOWS, query)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read one page of QueryWorkflows, `{"next", "items"}`. An item that cannot be read is left out and counted.

        `next` is a cursor: the next request is `asked` with that cursor, so that the window stays the same. A cursor
        that repeats ends the listing.
        """
        document = answered(response, account, _OK)
        items = document.get("items")
        if type(items) is not list:
            raise Unreadable("the listing has no list of items")
        readings = []
        for item in rows(items) or []:
            try:
                workflow_id = checked(item.get("id"), "a workflow's id")
                readings.append(read_workflow(item, workflow_id, snapshot=True))
            except Unreadable:
                continue
        cursor = text(document.get("next"))
        return Page(
            readings=tuple(readings),
            next=_turned(asked, cursor) if cursor else None,
            skipped=len(items) - len(readings),
        )

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """One listing of one workflow: it needs the token and nothing else."""
        query = {"take": "1", "hideMatureContent": "false"}
        return (Probe("list one workflow", _get(account, _WORKFLOWS, query)),)


def _get(account: Account, path: str, query: dict[str, str]) -> Request:
    headers = {"accept": "application/json, application/problem+json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    url = account.base_url.rstrip("/") + path
    return Request(method="GET", url=f"{url}?{urlencode(query)}" if query else url, headers=headers)


def _turned(asked: Request, cursor: str) -> Request | None:
    """The request for the page at `cursor`, None when `asked` was for that very page."""
    parts = urlsplit(asked.url)
    query = dict(parse_qsl(parts.query))
    if query.get("cursor") == cursor:
        return None
    query["cursor"] = cursor
    return replace(asked, url=urlunsplit(parts._replace(query=urlencode(query))))


def _with_template(reading: Reading, template: JsonObject) -> Reading:
    """The reading with what the WorkflowTemplate (UPSTREAMS §1.2.1) adds to its first observation, the workflow's."""
    first, *others = reading.observations
    kept = {key: value for key, value in template.items() if key != "callbacks"}
    inputs: list[dict[str, Any]] = [
        step["input"] for step in rows(template.get("steps")) or [] if type(step.get("input")) is dict
    ]
    found: JsonObject = {"request": kept, **described(inputs)}
    if type(template.get("metadata")) is dict:
        found["metadata"] = template["metadata"]
    if type(template.get("tags")) is list:
        found["tags"] = template["tags"]
    if text(template.get("externalId")):
        found["external_id"] = template["externalId"]
    # What upstream answered is the truth where both speak, but the request is as the submitter knows it.
    facts = {**found, **first.facts, "request": kept}
    ephemeral = reading.ephemeral if reading.ephemeral is not None else flag(template.get("ephemeral"))
    return replace(reading, observations=(replace(first, facts=facts), *others), ephemeral=ephemeral)
