"""What the peers have in common: an event as they read it, and which status comes before which."""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import parse_qs

from pydantic import BaseModel, Field

from tests.bench.processes import HOOK_TOKEN

RANK = {
    "unassigned": 0, "preparing": 1, "scheduled": 1, "processing": 2,
    "succeeded": 3, "failed": 3, "expired": 3, "canceled": 3,
}  # fmt: skip


class Step(BaseModel):
    """A step as a detailed workflow event lists it."""

    name: str
    status: str
    output: dict[str, Any] | None = None


class Details(BaseModel):
    """What comes with `detailed: true`: the parts a handler would use."""

    metadata: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    steps: list[Step] = []


class Event(BaseModel):
    """One delivery of any of the three kinds."""

    kind: str = Field(alias="$type")
    workflow_id: str = Field(alias="workflowId")
    status: str
    name: str | None = None
    step_name: str | None = Field(None, alias="stepName")
    job_id: str | None = Field(None, alias="jobId")
    progress: float | None = None
    details: Details | None = None

    def steps(self) -> list[Step]:
        """Return the steps this event tells of."""
        if self.kind == "step" and self.name is not None:
            return [Step(name=self.name, status=self.status, output=self.details.output if self.details else None)]
        return self.details.steps if self.details is not None else []


def believed(query: str) -> bool:
    """Return whether a query string holds the right token."""
    given = parse_qs(query).get("token", [""])[0]
    return hmac.compare_digest(given.encode(), HOOK_TOKEN.encode())


def moves(known: str, told: str) -> bool:
    """Return whether a status goes forward."""
    return RANK[told] > RANK[known]
