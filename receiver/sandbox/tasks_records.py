"""What a single-task upstream holds: one task, from the queue to its end, and the files it made."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ENDED = ("succeeded", "failed", "expired", "canceled")
PHASES = ("draft", "queued", "processing", *ENDED)
# The words of `/_sandbox/truth` that all stand-ins share.
CANONICAL = {"draft": "unassigned", "queued": "scheduled"}
ODD_WORDS = ("moderating", "paused", "post_processing")


@dataclass(frozen=True, slots=True)
class Op:
    """One change, `after` seconds (before `--speed`) behind the previous one."""

    after: float
    phase: str
    progress: int | None = None
    word: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One output. `host` only where a forger wants it to lead elsewhere."""

    task: str
    slot: str
    name: str
    host: str | None = None

    @property
    def path(self) -> str:
        """Behind `/files/`; also what its URL's signature is for."""
        return f"{self.task}/{self.name}"


@dataclass(slots=True)
class Task:
    """One task as upstream has it. `phase` is this sandbox's word; `word` is upstream's where no dictionary gives it.

    `facts` holds what only one upstream knows of its tasks; `told` what it knows of the callbacks it sent."""

    id: str
    number: int
    type: str
    request: dict[str, Any]
    callback_url: str | None
    created_at: datetime
    rng: random.Random
    script: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    phase: str = "queued"
    word: str | None = None
    progress: int = 0
    modified_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error_code: str | None = None
    error: str | None = None
    files: list[File] = field(default_factory=list)
    plan: list[Op] = field(default_factory=list)
    run: int = 1
    past: list[dict[str, Any]] = field(default_factory=list)
    purged: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """It is over, unless upstream lets it start again."""
        return self.phase in ENDED

    @property
    def open(self) -> bool:
        """It will change by itself; a draft will not."""
        return self.phase in ("queued", "processing")
