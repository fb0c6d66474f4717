"""The model of an incident report, and its parts."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from receiver.ledger.records import Outcome
from receiver.ledger.states import Status
from receiver.web.openapi.answers import Evidence, Transition
from receiver.web.openapi.parts import Advice, Attention, Check, Fault, Shape, Stamp


class Media(Shape):
    """What is known of the input."""

    duration_s: float | None
    resolution: Any
    codec: Any


class Ended(Shape):
    """How a step or a job ended."""

    status: Status
    reason: str | None
    blocked_reason: str | None
    error: Fault | None
    started_at: Stamp | None
    completed_at: Stamp | None
    finished_at: Stamp | None


class EndedStep(Ended):
    """How a step ended."""

    name: str
    advice: Advice | None


class EndedJob(Ended):
    """How a job ended."""

    id: str


class Attempt(Shape):
    """One of our looks that upstream answered."""

    evidence: str
    seq: int
    sent_at: Stamp | None
    http_status: int | None
    outcome: Outcome
    error: str | None
    request_id: str | None
    body_sha256: str | None


class Symptom(Shape):
    """What is known of a symptom."""

    symptom: str
    cause: str
    action: str


class Incident(Shape):
    """The report to escalate with: the template's fields first, and all that is known beside them."""

    incident_time: Stamp | None
    job_id: str
    model: str | None
    output_format: str | None
    symptom: str | None
    http_status: int | None
    error_code: str | None
    request_id: str | None
    source_video_meta: Media
    reported_at: Stamp
    provider: str | None
    source: str
    status: Status
    upstream_status: str | None
    run: int
    submitted_at: Stamp | None
    finished_at: Stamp | None
    reason: str | None
    blocked_reason: str | None
    error: Fault | None
    error_told_by: str | None
    known_symptoms: list[Symptom]
    advice: Advice | None
    attention: list[Attention]
    request: Any
    background: Any
    composition: Any
    input_reference: Any
    media: Any
    usage: Any
    cost: Any
    ref: str | None
    context: dict[str, str] | None
    steps: list[EndedStep]
    jobs: list[EndedJob]
    timeline: list[Transition]
    evidence: list[Evidence]
    complete: bool = Field(description="False when there is more of the timeline or of the evidence than is shown.")
    attempts: list[Attempt]
    check: Check | None
