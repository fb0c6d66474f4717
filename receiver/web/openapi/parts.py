"""What the answers' models are made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from receiver.ledger.states import Status

# RFC 3339 in UTC, ending in `Z`.
Stamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0)]
Cursor = Annotated[str | None, Field(description="Where the next page begins; null on the last one.")]
JsonObject = dict[str, Any]


class Shape(BaseModel):
    """An answer, or a part of one: every key is always there, what is not known is null."""

    model_config = ConfigDict(extra="forbid", json_schema_mode_override="serialization")


class Fault(Shape):
    """Upstream's own error."""

    code: Any
    message: Any


class Advice(Shape):
    """What to do about a failure: advice on sending the same again."""

    disposition: Annotated[
        str,
        Field(
            json_schema_extra={
                "enum": ["retry", "retry_later", "retry_once", "fix_request", "fix_account", "never", "contact"]
            }
        ),
    ]
    retry_after: float | None = Field(description="Seconds to wait before that, where there is something to say.")
    text: str
    known: bool = Field(description="False when the upstream's error table does not have this error.")


class Attention(Shape):
    """Why a person should look."""

    kind: str
    since: Stamp
    note: str | None
    evidence: str | None
    acknowledged_at: Stamp | None
    acknowledged_by: str | None


class Check(Shape):
    """When and why upstream is asked next, and how the last tries went."""

    due_at: Stamp | None
    lane: str
    reasons: dict[str, Stamp | None]
    wanted_at: Stamp | None
    tried_at: Stamp | None
    retry_at: Stamp | None
    leased_until: Stamp | None
    attempts: Count
    looks: Count
    misses: Count
    last_error: str | None
    because: str | None = Field(description="Why then: which share of its kind, as far as known, has ended by then.")


class Node(Shape):
    """What a workflow, a step and a job have alike."""

    status: Status
    upstream_status: str | None = Field(description="Upstream's own word for it.")
    terminal: bool
    inferred: bool = Field(description="Concluded by us from the parent's end; any evidence replaces it.")
    first_seen_at: Stamp
    started_at: Stamp | None
    completed_at: Stamp | None = Field(description="The end by upstream's clock.")
    finished_at: Stamp | None = Field(description="When we learned of the end.")
    finished_via: str | None
    confirmed_at: Stamp | None = Field(description="From then on nothing moves the ending.")
    reason: str | None
    blocked_reason: str | None
    progress: float | None
    error: Fault | None
    other: JsonObject | None = Field(description="Whatever else upstream said.")


class Step(Node):
    """One step of a workflow."""

    name: str
    type: Any
    input: Any
    output: Any
    metadata: Any
    preparation: Any
    retries: Any
    cost: Any
    priority: Any
    timeout: Any
    advice: Advice | None


class Job(Node):
    """One job of a step."""

    id: str
    step: str | None
    cost: Any
    queue_position: Any
    mature_content: Any


class ListedJob(Job):
    """One job among those of all workflows."""

    source: str
    workflow: str
    run: int


class Blob(Shape):
    """One output file."""

    id: str
    type: str | None
    step: str | None
    job: str | None
    slot: str | None
    available: bool | None
    href: str = Field(description="The path under which the file can be had; it outlives every URL.")
    url: str | None = Field(description="Upstream's URL while it works and confirmed evidence gave it.")
    url_expires_at: Stamp | None
    url_confirmed: bool
    media_expires_at: Stamp | None
    record_expires_at: Stamp | None
    gone_at: Stamp | None
    width: Any
    height: Any
    duration: Any
    nsfw_level: Any
    blocked_reason: Any
    other: JsonObject | None


class Collected(Shape):
    """The copy of an output file, made before upstream deletes it."""

    state: str = Field(description="`due`, `kept` (served from here) or `failed`.")
    size: int | None
    sha256: str | None
    type: str | None = Field(description="The media type that the file's server stated.")
    kept_at: Stamp | None
    tries: int
    error: str | None


class KnownBlob(Blob):
    """One output file, with the workflow it belongs to."""

    source: str
    workflow: str
    collected: Collected | None


class Workflow(Node):
    """One workflow with all that hangs on it."""

    source: str
    id: str
    run: int = Field(ge=1)
    vanished_at: Stamp | None
    first_seen_via: str
    submitted_at: Stamp | None
    asked_at: Stamp | None
    ephemeral: bool | None
    advice: Advice | None
    attention: list[Attention]
    next_check_at: Stamp | None
    check: Check | None
    model: str | None
    output_format: str | None
    request: Any
    source_media: Any
    usage: Any
    ref: str | None
    locator: Any
    context: dict[str, str] | None
    metadata: Any
    cost: Any
    tags: Any
    external_id: Any
    deleted_at: Any
    steps: list[Step]
    jobs: list[Job]
    blobs: list[Blob]
