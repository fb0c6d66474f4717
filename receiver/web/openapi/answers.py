"""What the routes take and answer, as models: the document is made of them, and tests hold every answer to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from receiver.ledger.records import EvidenceKind, Level, Outcome, TransitionKind, Trust
from receiver.ledger.states import Status
from receiver.web.openapi.parts import (
    Advice,
    Attention,
    Cursor,
    JsonObject,
    ListedJob,
    Shape,
    Stamp,
    Workflow,
)

Id = Annotated[str, Field(min_length=1, max_length=256)]
Label = Annotated[str, Field(max_length=1024)]


class Told(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid")


class TrackRequest(Told):
    """A submitted workflow. `id` may be left out when `response` names it."""

    source: str = Field(description="One of the configured sources.", examples=["civitai"])
    id: Id | None = Field(None, description="Upstream's id of the workflow.")
    submitted_at: Stamp | None = None
    request: JsonObject | None = Field(None, description="What was sent.")
    response: JsonObject | None = Field(None, description="Upstream's answer to the submission.")
    media: JsonObject | None = Field(None, description="What is known of the input: duration, resolution, codec.")
    context: dict[str, Label] | None = Field(
        None,
        description="Labels to find it by.",
        json_schema_extra={"propertyNames": {"minLength": 1, "maxLength": 256}, "maxProperties": 64},
    )
    ref: Id | None = Field(None, description="The `ref` of the registered URL.")
    locator: JsonObject | None = Field(None, description="What upstream needs besides the id.")


class AdviceRequest(Told):
    """An error met at submit time: `http`, and `body` (the whole answer) or `error` (the error alone)."""

    provider: str = Field(examples=["civitai"])
    http: Annotated[int, Field(ge=100, le=599)] | None = None
    body: Any = Field(None, description="The answer's body: the text it came as, or the JSON it holds.")
    error: JsonObject | str | None = None
    retry_after: str | int | None = Field(None, description="The `Retry-After` header's value.")


class ShareRequest(Told):
    """For how long a link is to work; an hour when nothing is told."""

    seconds: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] | None = None


class Share(Shape):
    """A link to one file. It also ends with the token it was made with."""

    path: str
    url: str | None = Field(description="The whole address, where `server.public_url` is set.")
    expires_at: Stamp


class Replayed(Shape):
    """What became of a delivery that was applied again."""

    delivery: str
    outcome: Outcome
    evidence: str = Field(description="The decision that keeps what it says today.")
    source: str
    workflow: str | None


class Problem(BaseModel):
    """An error (RFC 9457). `type` is a path relative to this server; members may be added."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str


class WorkflowPage(Shape):
    """Workflows, newest first."""

    items: list[Workflow]
    next_cursor: Cursor


class ListedAttention(Attention):
    """Why a person should look, and at what: a source, a workflow or one delivery."""

    ref: str = Field(description="Its name, to acknowledge it by.")
    scope: Literal["source", "workflow", "delivery"]
    source: str
    subject: str = Field(description="The workflow's or the delivery's id; empty for a source.")
    status: Status | None = Field(description="The workflow's.")


class AttentionPage(Shape):
    """What needs a person, the newest first."""

    items: list[ListedAttention]
    next_cursor: Cursor


class JobPage(Shape):
    """Jobs across workflows, newest first."""

    items: list[ListedJob]
    next_cursor: Cursor


class Transition(Shape):
    """A change of status, or a dispute about one, with the evidence that caused it."""

    seq: int
    run: int
    level: Level
    key: str
    from_: Status | None = Field(alias="from")
    to: Status
    kind: TransitionKind
    evidence: str
    upstream_at: Stamp | None
    recorded_at: Stamp
    inferred: bool


class TransitionPage(Shape):
    """A workflow's timeline, oldest first."""

    items: list[Transition]
    next_cursor: Cursor


class Happening(Transition):
    """A transition as the event stream tells it."""

    source: str
    workflow: str


class Evidence(Shape):
    """One piece of evidence about a workflow, without its body."""

    id: str
    seq: int | None
    kind: EvidenceKind
    trust: Trust | None
    outcome: Outcome
    problem: str | None
    identity: str | None
    http_status: int | None
    body_sha256: str | None
    same_as: str | None
    decision: Any
    code_version: str
    size: int | None
    sent_at: Stamp | None
    recorded_at: Stamp


class EvidencePage(Shape):
    """A workflow's evidence, oldest first."""

    items: list[Evidence]
    next_cursor: Cursor


class Delivery(Shape):
    """One delivery, without its headers and body."""

    id: str
    source: str
    workflow: str | None
    seq: int | None
    kind: EvidenceKind
    trust: Trust | None
    outcome: Outcome
    problem: str | None
    identity: str | None
    http_status: int | None
    body_sha256: str | None
    same_as: str | None
    code_version: str
    size: int | None
    sent_at: Stamp | None
    recorded_at: Stamp


class DeliveryPage(Shape):
    """Deliveries across workflows, newest first."""

    items: list[Delivery]
    next_cursor: Cursor


class OneDelivery(Delivery):
    """One delivery with its headers."""

    headers: Any
    decision: Any


class AdviceAnswer(Advice):
    """What an error met at submit time means and what to do."""

    code: Any
    message: Any
    request_id: Any
    fields: Any


class Wanted(Shape):
    """Upstream will be asked."""

    source: str
    id: str
    wanted_at: Stamp


class Paused(Shape):
    """Why nothing is asked of a source for now."""

    because: str
    until: Stamp | None
    probe_at: Stamp | None


class Delivered(Shape):
    """What became of a delivery."""

    delivery: str | None
    outcome: Outcome


class Health(Shape):
    """Whether the program is alive; `silent` names loops that have stopped, with the seconds since they were heard."""

    status: Literal["alive", "silent"]
    version: str
    silent: dict[str, float]


class Readiness(Shape):
    """Whether traffic may come."""

    status: Literal["ready", "not ready"]
    problem: str | None


class RefetchAnswer(RootModel[Wanted | Workflow]):
    """That upstream will be asked; with `wait`, the workflow as it stands because no look has finished yet."""
