"""Every knob of the Civitai sandbox. Times in seconds; what a chance is: `receiver.sandbox.faults`."""

from __future__ import annotations

# ruff: noqa: RUF009 - `knob` returns a dataclasses.field
from dataclasses import dataclass

from receiver.sandbox.faults import (
    Chance,
    knob,
    read_chance,
    read_flag,
    read_optional_count,
    read_optional_text,
    read_seconds,
    read_text,
)
from receiver.sandbox.upstream_faults import UpstreamFaults


@dataclass
class CivitaiFaults(UpstreamFaults):
    """What only this upstream has, and what is said otherwise because its workflows have steps."""

    fail: Chance = knob("0", read_chance, "steps that fail")
    expire: Chance = knob("0", read_chance, "steps that run out of time")
    cancel: Chance = knob("0", read_chance, "workflows an operator cancels")
    blocked_blobs: Chance = knob("0", read_chance, "succeeded steps one of whose blobs is blocked")
    unknown_status: Chance = knob("0", read_chance, "steps that pass through a status word nobody documented")
    buzz: int | None = knob(None, read_optional_count, "what is left to spend; a submit beyond it is a 403")
    media_ttl: float = knob("2592000", read_seconds, "seconds a blob is kept; a refresh restarts them")
    reason_in_get: bool = knob(True, read_flag, "jobs in GetWorkflow carry reason and blockedReason")
    job_type: str = knob("job", read_text, "the $type of job events, or missing")
    gateway_timeout: float = knob("100", read_seconds, "a wait longer than this is answered 524 by the gateway")
    content_base: str | None = knob(None, read_optional_text, "where GetBlob's 308 leads, when to another host")
