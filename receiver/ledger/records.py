"""The words the ledger is written in: what a provider reads out of evidence, and what the merge makes of it.

Everything here is plain data. A webhook and a refetch become the same `Reading` and enter through the same door.
Nobody changes one that is made: `frozen` would say so, at three times the price of making it, a dozen times a delivery.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from receiver.ledger.states import Status

JsonObject = dict[str, Any]


class Level(StrEnum):
    """Which of upstream's three levels something is about."""

    WORKFLOW = "workflow"
    STEP = "step"
    JOB = "job"


class Trust(StrEnum):
    """What a source's deliveries prove (R9)."""

    SIGNED = "signed"
    TOKEN = "token"  # noqa: S105 - the name of a kind of proof, not a secret
    HINT = "hint"
    NONE = "none"


class EvidenceKind(StrEnum):
    """Where a piece of evidence comes from."""

    DELIVERY = "delivery"
    FETCH = "fetch"
    DECISION = "decision"


class TransitionKind(StrEnum):
    """How a transition came to be (DESIGN §8.2)."""

    APPLIED = "applied"
    CORRECTED = "corrected"
    INFERRED = "inferred"
    RETRACTED = "retracted"
    CONTRADICTION = "contradiction"


class Outcome(StrEnum):
    """What became of a delivery; the word in the answer (DESIGN §8.1)."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    RECORDED = "recorded"  # kept, but it moved nothing: late, repeated by another delivery, or a contradiction
    HINT = "hint"
    QUARANTINED = "quarantined"


@dataclass(slots=True)
class Observation:
    """What one piece of evidence says of one workflow, step or job.

    `key` is '' for the workflow itself, the step's name for a step, the job's id for a job. `step` is the name of the
    step a job belongs to, when upstream says so. `word` is upstream's own status word and `status` its meaning: None
    when the word is absent or not in the provider's dictionary. `upstream_at` is the instant upstream puts on the
    status itself. All instants are aware and UTC; a provider leaves out those it cannot believe (before 2000), the
    merge those more than five minutes ahead of receipt. `submitted_at` is when upstream says the workflow was made.

    `facts` are upstream's other fields, by the ledger's names (see FACTS below); None and absent mean the same.
    """

    level: Level
    key: str = ""
    step: str | None = None
    status: Status | None = None
    word: str | None = None
    upstream_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    progress: float | None = None
    facts: JsonObject = field(default_factory=dict)
    submitted_at: datetime | None = None


# Facts that have a name of their own in the ledger; any other key of `Observation.facts` is kept as it came.
#   all levels   reason, blocked_reason, error {"code", "message"}
#   workflow     model, output_format, request, source_media, usage, metadata, cost, tags, external_id
#   step         type, input, output, metadata, preparation, retries, cost, priority, timeout
#   job          cost, queue_position, mature_content
# Facts that usually only events carry are merged so that the order of arrival does not matter (R5):
EVENT_FACTS = frozenset({"reason", "blocked_reason", "preparation"})


@dataclass(slots=True)
class BlobSeen:
    """One output file as a piece of evidence shows it.

    `id` is upstream's, or `<workflow>~<slot>` where upstream gives none. `url_expires_at`, `media_expires_at` and
    `record_expires_at` are the three clocks: the signed URL, the bytes, the record upstream. `hidden` says that the
    reading left the URL out on purpose (a listing that hides mature content), so that its absence means nothing (R7).
    """

    id: str
    type: str | None = None
    step: str | None = None
    job: str | None = None
    slot: str | None = None
    available: bool | None = None
    url: str | None = None
    url_expires_at: datetime | None = None
    media_expires_at: datetime | None = None
    record_expires_at: datetime | None = None
    hidden: bool = False
    facts: JsonObject = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """Everything one piece of evidence says about one workflow.

    `snapshot` is True for an answer to our own look that describes the workflow as it was at one instant, False for an
    event. `complete` says that a snapshot names every step and job upstream knows (so that one it omits is gone).
    `identity` is upstream's own name for the delivery (a delivery-id header), '' when it has none. `ephemeral` is True
    when upstream says it will forget the workflow at its end. `needs_look` asks for a look whatever the trust: the
    event is thin, or its success may hide a failure.
    """

    workflow_id: str
    observations: tuple[Observation, ...] = ()
    blobs: tuple[BlobSeen, ...] = ()
    snapshot: bool = False
    complete: bool = False
    identity: str = ""
    ephemeral: bool | None = None
    needs_look: bool = False


@dataclass(slots=True)
class Transition:
    """A status change, or a dispute about one, with the evidence that caused it."""

    level: Level
    key: str
    from_status: Status | None
    to_status: Status
    kind: TransitionKind
    evidence: str
    upstream_at: datetime | None
    recorded_at: datetime
