"""Evidence read once more with today's code: a row of the ledger becomes the entry it would be if it came now.

Whoever replays must load what a row refers to (`refers_to`) along with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from receiver.config import Config
from receiver.ledger.batch import AGAIN, REPEATED
from receiver.ledger.entries import Answer, Entry, Look
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, Outcome, Reading, Trust
from receiver.ledger.taking import GONE
from receiver.logs import log_event
from receiver.providers import PROVIDERS
from receiver.providers.base import (
    Account,
    CredentialsRefused,
    Inbound,
    Provider,
    ProviderError,
    Request,
    Response,
    Unreadable,
    UpstreamGone,
    UpstreamRefused,
)
from receiver.reading import (
    ASKED,
    AUDITED,
    BLOB,
    LISTED,
    MANY,
    PART_AT,
    PART_OF,
    REF,
    RENEWAL,
    delivery_entry,
    read_many,
    read_page,
    read_renewal,
    whole_of,
)
from receiver.redaction import Redactor
from receiver.tracking import BadTrack, track_entry

Row = Mapping[Any, Any]

# Decisions that say nothing of a workflow: that a person has seen to it, that it was corrected by replay.
ACKNOWLEDGED, REPLAYED = "acknowledged", "replayed"
# What the intake says of a delivery that the database would not take as it was read.
POISON = "the ledger could not take it"


class NotReplayable(Exception):
    """Something this evidence says is not kept any more, or never was; the message says what."""


@dataclass(frozen=True, slots=True)
class Reread:
    """What one row of evidence says today.

    `entry` is None when it says nothing of its workflow's state: quarantined, too late, a wish. `name` is the evidence
    that transitions name. `hint` entries only tell the `ref` of their URL.
    """

    row: Row
    entry: Entry | None
    name: str
    fresh: bool = True

    @property
    def hint(self) -> bool:
        """Whether this delivery proved nothing when it came (R9)."""
        return bool(self.row["outcome"] == Outcome.HINT)


def refers_to(row: Row) -> str | None:
    """Return the id of the evidence that holds what this row says, None when it does so itself."""
    decision = row["decision"] or {}
    found = row["same_as"] or decision.get(AGAIN) or decision.get(REPEATED)
    return found if isinstance(found, str) else None


class Rereader:
    """Reads one source's evidence with the provider and the account it is configured with today."""

    def __init__(self, config: Config, source: str, providers: Mapping[str, Provider] = PROVIDERS) -> None:
        """Raises ConfigError for a source that is not configured."""
        self.source = source
        self._config = config
        self._providers = providers
        self._provider = providers[config.source(source).provider]
        self._account = config.account(source)
        self.policy: Policy = config.policy(source)
        # What was tracked was redacted when it was kept.
        self._redactor = Redactor(())

    def read(self, row: Row, held: Row | None) -> Reread:
        """Return what a row says; `held` is what `refers_to` names. Raises NotReplayable."""
        if row["kind"] == EvidenceKind.DELIVERY:
            return Reread(row, self._delivery(row, row, row["sent_at"], row["trust"]), row["id"])
        if row["kind"] == EvidenceKind.FETCH:
            return Reread(row, self._fetch(row, held), row["id"])
        return self._decision(row, held)

    def delivery(self, row: Row) -> Entry:
        """Return a delivery as the entry it would be if it came today, as old as it is. Raises NotReplayable."""
        return self._delivered(row, row, row["sent_at"], row["trust"])

    def _delivery(self, row: Row, held: Row, at: datetime, trust: str | None) -> Entry | None:
        if held is row and (held["problem"] or "").startswith(POISON):
            return None
        entry = self._delivered(row, held, at, trust)
        return entry if entry.reading is not None and entry.workflow_id else None

    def _delivered(self, row: Row, held: Row, at: datetime, trust: str | None) -> Entry:
        body, headers = _body_of(held, None), held["headers"] or {}
        query = {"ref": headers[REF]} if REF in headers else {}
        account = replace(self._account, trust=Trust(trust) if trust else self._account.trust)
        inbound = Inbound(headers, query, body, held["sent_at"])
        entry = delivery_entry(self.source, self._provider, account, self.policy, inbound, headers)
        entry.at = at
        if entry.reading is not None and not entry.workflow_id and row["workflow_id"]:
            # Its body names none: the ledger found it by the ref of its URL.
            entry.workflow_id = row["workflow_id"]
            entry.reading = replace(entry.reading, workflow_id=row["workflow_id"])
        return entry

    def _fetch(self, row: Row, held: Row | None) -> Entry | None:
        headers, workflow_id = row["headers"] or {}, row["workflow_id"]
        unclaimed = headers.get(ASKED) in (LISTED, AUDITED)
        if row["outcome"] == Outcome.RECORDED and not unclaimed:
            return None  # its lease had ended, or it was not believed: kept, not applied
        body = _body_of(row, held)
        response = Response(row["http_status"], headers, body, row["sent_at"], row["recorded_at"], row["http_date"])
        blob = headers.get(BLOB)
        reading: Reading | None = None
        answer = Answer.SHOWN
        try:
            reading = _fetched(self._provider, self._account, workflow_id, response)
        except UpstreamGone:
            answer = Answer.GONE
        except UpstreamRefused:
            answer = Answer.REFUSED
        except CredentialsRefused:
            answer = Answer.CREDENTIALS
        except ProviderError:
            answer = Answer.UNREADABLE
        except NotReplayable:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours: as when it was fetched, the answer says nothing
            log_event("provider-failed", level="error", error=error, source=self.source, id=workflow_id)
            answer = Answer.UNREADABLE
        entry = Entry(self.source, self.policy, EvidenceKind.FETCH, row["sent_at"], workflow_id, reading)
        entry.http_status, entry.http_date, entry.headers = row["http_status"], row["http_date"], headers
        entry.look = None if unclaimed else Look(0, answer, row["problem"] or "", blob=blob)
        return entry if reading is not None or not unclaimed else None

    def _decision(self, row: Row, held: Row | None) -> Reread:
        decision, name = row["decision"] or {}, row["id"]
        if AGAIN in decision or REPEATED in decision:
            if held is None:
                raise NotReplayable("the evidence it refers to was removed")
            fresh = AGAIN in decision
            if held["kind"] == EvidenceKind.DECISION:
                entry = self._tracked(held["decision"] or {}, row["sent_at"])
            else:
                entry = self._delivery(row, held, row["sent_at"], row["trust"])
            return Reread(row, entry, name if fresh else held["id"], fresh)
        if "track" in decision:
            return Reread(row, self._tracked(decision, row["sent_at"]), name)
        if ACKNOWLEDGED in decision or REPLAYED in decision or GONE in decision:
            nothing, workflow_id = Reading(row["workflow_id"]), row["workflow_id"]
            entry = Entry(self.source, self.policy, EvidenceKind.DECISION, row["sent_at"], workflow_id, nothing)
            entry.decision = decision
            return Reread(row, entry, name)
        raise NotReplayable("a decision of a kind that is not known")

    def _tracked(self, decision: Mapping[str, Any], at: datetime) -> Entry | None:
        try:
            return track_entry(decision["track"], self._config, self._redactor, at, self._providers)
        except BadTrack:
            return None
        except KeyError:
            raise NotReplayable("a decision of a kind that is not known") from None


def _body_of(row: Row, held: Row | None) -> bytes:
    holder = row if row["same_as"] is None else held
    if holder is None or holder["body"] is None:
        raise NotReplayable("a body was pruned")
    return bytes(holder["body"])


def _fetched(provider: Provider, account: Account, workflow_id: str, response: Response) -> Reading:
    """Read an answer as it was read when it was fetched: by itself, or as one part of an answer for many."""
    headers = response.headers
    asked = headers.get(ASKED)
    if asked == RENEWAL:
        return read_renewal(provider, workflow_id, headers.get(BLOB, ""), response, account)
    if asked not in (MANY, LISTED):
        if PART_OF in headers:
            raise NotReplayable("a part of an answer whose place is not known")
        return provider.read_status(workflow_id, response, account)
    if PART_AT in headers:
        try:
            response = replace(response, body=whole_of(response.body, headers[PART_AT]))
        except (orjson.JSONDecodeError, TypeError):
            raise NotReplayable("a part of an answer whose place is not known") from None
    if asked == MANY:
        found = read_many(provider, response, account)
    else:
        page = read_page(provider, response, account, Request("GET", account.base_url))
        found = {one.workflow_id: one for one in page.readings}
    if workflow_id not in found:
        raise Unreadable("the answer does not tell of this workflow")
    return found[workflow_id]
