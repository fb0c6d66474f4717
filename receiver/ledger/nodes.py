"""What the ledger holds of one workflow, as the merge works on it: plain data that knows whether it changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from receiver.ledger.records import EvidenceKind, JsonObject, Level, Transition, Trust
from receiver.ledger.states import Status

# Two instants of one clock closer than this are concurrent: neither is known to be older (R4).
CONCURRENT = timedelta(seconds=2)
# How far apart two looks, or a look and an ending, must be before what they show is believed against the ledger.
SPACED = timedelta(seconds=30)
# Upstream instants further ahead of receipt than this are not used (R4).
AHEAD = timedelta(minutes=5)


@dataclass(slots=True)
class Node:
    """One workflow, step or job.

    `status_seen_at` is our clock, and `status_at` upstream's, for the evidence that set the status, or has named it
    since while it is none of the endings; `look_sent_at` and `look_date` are the same two clocks for the newest look
    that named this node. `inferred_from` is the last status
    evidence gave, when the present one is only inferred (R8). `alive_since` is the first look that showed a provisional
    ending to be alive (R2). `stamps` say which evidence each order-independent fact came from (R5).
    """

    level: Level
    key: str
    status: Status
    first_seen_at: datetime
    status_seen_at: datetime
    step: str | None = None
    upstream_status: str | None = None
    status_at: datetime | None = None
    look_sent_at: datetime | None = None
    look_date: datetime | None = None
    confirmed_at: datetime | None = None
    inferred_from: Status | None = None
    alive_since: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    finished_at: datetime | None = None
    finished_via: str | None = None
    progress: float | None = None
    reason: str | None = None
    blocked_reason: str | None = None
    raw_facts: str | JsonObject = "{}"
    stamps: dict[str, list[Any]] = field(default_factory=dict)
    dirty: bool = False
    told: bool = False  # facts or stamps have changed since the database saw them
    stood: tuple[Any, ...] | None = None  # what the database holds of what hardly ever changes (see `rows`)
    retyped: bool = False  # its fact `type` has changed: lists are to find its workflow by it
    blank: bool = False  # created by this very evidence, no status named yet

    @property
    def facts(self) -> JsonObject:
        """Upstream's other fields, decoded when somebody first asks: most evidence never does."""
        if isinstance(self.raw_facts, str):
            self.raw_facts = orjson.loads(self.raw_facts)
        assert isinstance(self.raw_facts, dict)
        return self.raw_facts

    @property
    def provisional(self) -> bool:
        """Whether this is an ending that evidence named but nothing confirmed yet (R2)."""
        return self.status.terminal and self.confirmed_at is None and self.inferred_from is None

    def put(self, name: str, value: Any) -> bool:
        """Set one attribute and remember that the row must be written; returns whether that changed anything."""
        if getattr(self, name) == value:
            return False
        setattr(self, name, value)
        self.dirty = True
        return True

    def tell(self, name: str, value: Any) -> None:
        """Set one of the facts; None takes it away."""
        if value is not None:
            self.facts[name] = value
        elif self.facts.pop(name, None) is None:
            return
        self.dirty = self.told = True

    def stamp(self, name: str, stamp: list[Any]) -> None:
        """Remember which evidence an order-independent fact came from, or what has been told and disputed."""
        self.stamps[name] = stamp
        self.dirty = self.told = True


@dataclass(slots=True)
class Blob:
    """One output file upstream, as the ledger knows it. `url_confirmed` says that its URL may be served (R17)."""

    id: str
    type: str | None = None
    step: str | None = None
    job: str | None = None
    slot: str | None = None
    available: bool | None = None
    url: str | None = None
    url_seen_at: datetime | None = None
    url_expires_at: datetime | None = None
    url_confirmed: bool = False
    look_sent_at: datetime | None = None
    media_expires_at: datetime | None = None
    record_expires_at: datetime | None = None
    gone_at: datetime | None = None
    facts: JsonObject = field(default_factory=dict)
    dirty: bool = False

    def put(self, name: str, value: Any) -> bool:
        """Set one attribute and remember that the row must be written; returns whether that changed anything."""
        if getattr(self, name) == value:
            return False
        setattr(self, name, value)
        self.dirty = True
        return True


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that is over because the next one began (R10): what its workflow was at the end."""

    run: int
    node: Node
    ending_delivered_at: datetime | None


@dataclass(slots=True)
class WorkflowState:
    """One workflow with everything that hangs on it. `about` holds the columns only a workflow has, by name."""

    source: str
    id: str
    run: int
    node: Node
    pk: int | None = None
    steps: dict[str, Node] = field(default_factory=dict)
    jobs: dict[str, Node] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)
    dropped_blobs: list[str] = field(default_factory=list)
    past: list[PastRun] = field(default_factory=list)  # runs that ended with the evidence at hand
    first_seen_via: str = "delivery"
    submitted_at: datetime | None = None
    news_at: datetime | None = None
    asked_at: datetime | None = None
    ending_delivered_at: datetime | None = None
    vanished_at: datetime | None = None
    ephemeral: bool | None = None
    about: JsonObject = field(default_factory=dict)
    evidence_seq: int = 0
    transition_seq: int = 0
    version: int = 0  # another with every writing: whoever holds a copy can see whether it is still true
    retold: bool = False  # `about` has changed since the database saw it
    stood: tuple[Any, ...] | None = None  # as a node's
    bulk: int = -1  # bytes of what it tells (see `recent`); negative until somebody has reckoned
    relabelled: bool = False  # its context has changed: its labels must be written anew

    def put(self, name: str, value: Any) -> bool:
        """Set one of the workflow's own attributes; its row is the node's row, so the node is marked."""
        if getattr(self, name) == value:
            return False
        setattr(self, name, value)
        self.node.dirty = True
        return True

    def tell(self, name: str, value: Any) -> bool:
        """Set one of `about`'s entries."""
        if self.about.get(name) == value:
            return False
        self.about[name] = value
        self.node.dirty = self.retold = True
        return True

    @property
    def weight(self) -> int:
        """How many steps, jobs and files hang on it."""
        return len(self.steps) + len(self.jobs) + len(self.blobs)

    def marks(self) -> list[Node | Blob]:
        """Return everything that carries a mark of having changed."""
        return [self.node, *self.steps.values(), *self.jobs.values(), *self.blobs.values()]

    def parent_of(self, node: Node) -> Node:
        """Return the node whose end ends this one: a job's step where it is known, else the workflow."""
        if node.level is Level.JOB and node.step is not None and node.step in self.steps:
            return self.steps[node.step]
        return self.node

    def children(self) -> list[Node]:
        """Return the steps, then the jobs: parents before their children."""
        return [*self.steps.values(), *self.jobs.values()]


# The columns of `workflows` that evidence or a person fills and the merge does not reason about.
ABOUT = ("model", "output_format", "request", "source_media", "usage", "error", "ref", "locator", "context")


@dataclass(slots=True)
class Evidence:
    """What the merge must know of the evidence it applies.

    `instant` is our clock: when a delivery was received, when a look was sent. `date` is upstream's clock on a look's
    answer. `recorded_at` is now. `via` is the word kept as `finished_via`/`first_seen_via`: delivery, look or track.
    `fresh` is False for a duplicate.
    """

    id: str
    kind: EvidenceKind
    instant: datetime
    recorded_at: datetime
    via: str
    trust: Trust | None = None
    date: datetime | None = None
    fresh: bool = True

    @property
    def confirms(self) -> bool:
        """Whether an ending this evidence names is final at once (R2)."""
        return self.kind is EvidenceKind.FETCH or self.trust is Trust.SIGNED


@dataclass(slots=True)
class Merged:
    """What came of applying one piece of evidence: transitions in order, and whether only a look can clear a doubt.

    `contested` is True when a confirmed ending was disputed by a look or a signed delivery: a person should see it.
    """

    transitions: list[Transition] = field(default_factory=list)
    moved: bool = False
    doubt: bool = False
    contested: bool = False
