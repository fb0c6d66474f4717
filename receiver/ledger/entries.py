"""What goes in at the one door of the ledger, and what comes back: one entry per piece of evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from receiver.ledger.nodes import Merged, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, JsonObject, Outcome, Reading, Trust


class Answer(StrEnum):
    """How upstream answered one of our looks (R11)."""

    SHOWN = "shown"  # a reading came of it
    GONE = "gone"  # 404 or 410
    BUSY = "busy"  # 429, 5xx, no answer at all, a gateway's page
    REFUSED = "refused"  # 400, 403, 422
    CREDENTIALS = "credentials"  # 401
    UNREADABLE = "unreadable"  # 200, and not what was documented
    HELD = "held"  # 404, or refused, of a source that suddenly knows too few workflows: not believed
    OMITTED = "omitted"  # a read for many that did not tell of this one


@dataclass(slots=True)
class Look:
    """One read of upstream by the reconciler: the fence it was claimed under, and how it was answered.

    `retry_after` is seconds upstream asked us to wait. `evidence` False keeps no row (no answer came at all).
    `backoff` is the least number of seconds before the next try of this round. `blob` names the one blob whose URL
    was to be renewed (RefreshBlob): such an answer shows nothing of the workflow. `charged` False says that the try
    does not count, because the account was asked too much and not this workflow (429). `alone` says that a read for
    many did not tell enough, so that the workflow is asked about by itself for a while.
    """

    fence: int
    answer: Answer
    message: str = ""
    retry_after: float | None = None
    backoff: float = 0.0
    evidence: bool = True
    blob: str | None = None
    charged: bool = True
    alone: bool = False


@dataclass(slots=True)
class Entry:
    """One piece of evidence on its way into the ledger.

    `at` is our clock: when a delivery was received, a look sent, a decision taken. `key` is the dedupe key (R13), None
    for evidence that is never a duplicate. `told` are columns of the workflow that a person gives (`track`): context,
    ref, locator, request, source_media, model, output_format; only what is not None is taken. `again` names the
    evidence whose body is read once more: what comes of it is kept as a decision, without the body. `tracked_by` names
    who registered it by hand: when that was news, the audit log has a line of it with the same commit.
    """

    source: str
    policy: Policy
    kind: EvidenceKind
    at: datetime
    workflow_id: str | None = None
    reading: Reading | None = None
    trust: Trust | None = None
    problem: str | None = None
    headers: JsonObject = field(default_factory=dict)
    body: bytes = b""
    body_sha256: str = ""
    identity: str | None = None
    key: str | None = None
    http_status: int | None = None
    http_date: datetime | None = None
    look: Look | None = None
    ref: str | None = None
    told: JsonObject | None = None
    submitted_at: datetime | None = None
    decision: JsonObject | None = None
    again: str | None = None
    tracked_by: str | None = None

    @property
    def hint(self) -> bool:
        """Whether this delivery proves nothing, so that it may only make a look due (R9)."""
        return self.trust is Trust.HINT

    @property
    def weight(self) -> int:
        """Of how many steps, jobs and files it speaks: nearly all that it costs to take in."""
        return 0 if self.reading is None else len(self.reading.observations) + len(self.reading.blobs)

    @property
    def creates(self) -> bool:
        """Whether a workflow nobody knows comes into being with this."""
        return self.reading is not None and self.workflow_id is not None and not self.hint


@dataclass(slots=True)
class Result:
    """What became of one entry. `evidence` is the id of the row that holds it (a duplicate's is the first one's).

    `over_quota` says that a hint was not kept because its source sent too many. `created` is True when the workflow
    came into being with it. `stale` marks a look whose lease had gone to another process: kept, not applied (R15).
    """

    evidence: str
    outcome: Outcome
    merged: Merged | None = None
    state: WorkflowState | None = None
    created: bool = False
    over_quota: bool = False
    stale: bool = False
