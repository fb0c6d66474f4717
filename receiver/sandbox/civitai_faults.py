"""Every knob of the Civitai sandbox. Times in seconds; what a chance is: `receiver.sandbox.faults`."""

from __future__ import annotations

# ruff: noqa: RUF009 - `knob` returns a dataclasses.field
from dataclasses import dataclass

from receiver.sandbox.faults import (
    Chance,
    DeliveryFaults,
    Outage,
    knob,
    read_chance,
    read_flag,
    read_offset,
    read_optional_count,
    read_optional_text,
    read_outage,
    read_seconds,
    read_text,
)


@dataclass
class CivitaiFaults(DeliveryFaults):
    """Every knob of the Civitai sandbox. Chances and times: see `receiver.sandbox.faults`."""

    fail: Chance = knob("0", read_chance, "steps that fail")
    expire: Chance = knob("0", read_chance, "steps that run out of time")
    cancel: Chance = knob("0", read_chance, "workflows an operator cancels")
    blocked_blobs: Chance = knob("0", read_chance, "succeeded steps one of whose blobs is blocked")
    unknown_status: Chance = knob("0", read_chance, "steps that pass through a status word nobody documented")
    html_errors: Chance = knob("0", read_chance, "reads answered with a gateway's HTML page")
    status_429: Chance = knob("0", read_chance, "reads answered with 429")
    status_5xx: Chance = knob("0", read_chance, "reads answered with 500 or 503")
    submit_429: Chance = knob("0", read_chance, "submits answered with 429")
    submit_500: Chance = knob("0", read_chance, "submits answered with 500 although the workflow exists")
    retry_after: int | None = knob(None, read_optional_count, "seconds in a Retry-After header of 429 and 503")
    latency: float = knob("0", read_seconds, "seconds every read waits before it is answered")
    outage: Outage | None = knob(None, read_outage, "START:DURATION, seconds from now during which all is down")
    api_key: str = knob("sandbox-key", read_text, "the only bearer token taken", secret=True)
    revoked: bool = knob(False, read_flag, "no bearer token is taken")
    buzz: int | None = knob(None, read_optional_count, "what is left to spend; a submit beyond it is a 403")
    url_ttl: float = knob("300", read_seconds, "seconds a signed blob URL works")
    media_ttl: float = knob("2592000", read_seconds, "seconds a blob is kept; a refresh restarts them")
    retention: float = knob("2592000", read_seconds, "seconds an ended workflow can be read")
    reason_in_get: bool = knob(True, read_flag, "jobs in GetWorkflow carry reason and blockedReason")
    job_type: str = knob("job", read_text, "the $type of job events, or missing")
    allow_http: bool = knob(True, read_flag, "callbacks to plain http are taken (the real one refuses them)")
    gateway_timeout: float = knob("100", read_seconds, "a wait longer than this is answered 524 by the gateway")
    clock_skew: float = knob("0", read_offset, "seconds the sandbox's clock is ahead")
    public_url: str | None = knob(None, read_optional_text, "what blob URLs begin with, when not the bound address")
    content_base: str | None = knob(None, read_optional_text, "where GetBlob's 308 leads, when to another host")
