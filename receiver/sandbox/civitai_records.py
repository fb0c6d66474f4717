"""What upstream holds of a workflow: its steps, their jobs, their output files."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from receiver.sandbox.civitai_plan import ENDED, Fate, Op
from receiver.sandbox.civitai_template import Callback, StepTemplate, Template

MATURE = frozenset({"r", "x", "xxx"})


@dataclass(slots=True)
class Job:
    """One provider's try at a step."""

    id: str
    status: str = "unassigned"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    rate: float | None = None
    reason: str | None = None
    blocked_reason: str | None = None
    queue_position: int = 0


@dataclass(slots=True)
class Blob:
    """One output file. `gone` when purged; past `kept_until` it is gone as well."""

    id: str
    type: str
    workflow: str
    step: str
    job_id: str
    nsfw_level: str
    width: int
    height: int
    kept_until: datetime
    blocked_reason: str | None = None
    purged: bool = False
    refreshes: int = 0

    def gone(self, now: datetime) -> bool:
        """Nothing is left of it."""
        return self.purged or now >= self.kept_until


@dataclass(slots=True)
class Step:
    """One step; `output` holds everything but the blobs, which are in `blobs`."""

    template: StepTemplate
    status: str = "unassigned"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    rate: float | None = None
    jobs: list[Job] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    output: dict[str, Any] | None = None
    input: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    plan: list[Op] = field(default_factory=list)
    fate: Fate = field(default_factory=Fate)
    begun: bool = False

    @property
    def ended(self) -> bool:
        """It has a terminal status."""
        return self.status in ENDED

    @property
    def name(self) -> str:
        """Unique in its workflow; `$0`, `$1` … where none was given."""
        return self.template.name


@dataclass(slots=True)
class Workflow:
    """One workflow as upstream has it."""

    id: str
    number: int
    template: Template
    callbacks: tuple[Callback, ...]
    created_at: datetime
    rng: random.Random
    steps: list[Step]
    metadata: dict[str, Any]
    tags: list[str]
    allow_mature: bool | None
    cost: int
    status: str = "unassigned"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    purged: bool = False
    revision: int = 0

    @property
    def ended(self) -> bool:
        """It has a terminal status."""
        return self.status in ENDED

    def withholds(self, blob: Blob) -> bool:
        """Mature output waits for `allowMatureContent` when that was refused at first."""
        return self.allow_mature is False and blob.nsfw_level in MATURE


@dataclass(frozen=True, slots=True)
class Change:
    """A status taken at `at`: of the job, else of the step, else of the workflow."""

    at: datetime
    workflow: Workflow
    step: Step | None = None
    job: Job | None = None

    @property
    def level(self) -> str:
        """`job`, `step` or `workflow`."""
        return "job" if self.job else "step" if self.step else "workflow"

    @property
    def status(self) -> str:
        """The status word."""
        return (self.job or self.step or self.workflow).status
