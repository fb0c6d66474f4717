"""The knobs of the stand-ins whose workflows are single tasks, by upstream. Times in seconds."""

from __future__ import annotations

# ruff: noqa: RUF009 - `knob` returns a dataclasses.field
from dataclasses import dataclass

from receiver.sandbox.faults import (
    Chance,
    knob,
    one_of,
    read_chance,
    read_count,
    read_flag,
    read_ladder,
    read_limit,
    read_optional_count,
    read_optional_text,
    read_seconds,
    read_text,
)
from receiver.sandbox.upstream_faults import UpstreamFaults

# Newest first; the last is the older page's only one (UPSTREAMS §2.6).
BILLING_CODES = (
    "INSUFFICIENT_BALANCE",
    "BILLING_NOT_CONFIGURED",
    "HARD_LIMIT_EXCEEDED",
    "CREDIT_DEDUCTION_FAILED",
    "INSUFFICIENT_CREDITS",
)
# "0123456789abcdef01234567", as in the Standard Webhooks vector's form.
WHSEC = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
BODY_SHAPES = ("wrapped", "flat", "id", "job_id", "empty", "mixed")


@dataclass
class TaskFaults(UpstreamFaults):
    """What they share."""

    cancel: Chance = knob("0", read_chance, "workflows that are canceled, where upstream has a word for it")
    submit_503: Chance = knob("0", read_chance, "submits answered with 503; nothing was made of them")
    credits: int | None = knob(None, read_optional_count, "submits that are still paid for; one beyond is a 402")
    resign: bool = knob(True, read_flag, "each read signs output URLs afresh; if not, they end --url-ttl after the end")


@dataclass
class BeebleFaults(TaskFaults):
    """Beeble SwitchX (UPSTREAMS §2)."""

    callback_ladder: tuple[float, ...] | None = knob(
        "1,5,30,120", read_ladder, "seconds before each retry, before --speed"
    )
    callback_total: float = knob("300", read_seconds, "seconds for all tries of one callback, before --speed")
    callback_retry_4xx: bool = knob(True, read_flag, "retry on every answer that is not 2xx")
    url_ttl: float = knob("259200", read_seconds, "seconds a signed output URL works")
    reads_per_minute: int = knob("5", read_count, "reads the account may make in a minute (of --speed); 0: no limit")
    writes_per_minute: int = knob("5", read_count, "writes the account may make in a minute (of --speed); 0: no limit")
    concurrent_jobs: int = knob("10", read_count, "jobs that may be open at once; 0: no limit")
    billing_code: str = knob("INSUFFICIENT_BALANCE", one_of(*BILLING_CODES), "the code of a 402 when credits run out")
    list_output: bool = knob(True, read_flag, "the list carries output URLs (whether it does is not documented)")


@dataclass
class EvolinkFaults(TaskFaults):
    """EvoLink's unified task API (UPSTREAMS §3)."""

    callback_ladder: tuple[float, ...] | None = knob("1,2,4", read_ladder, "seconds before each retry, before --speed")
    callback_total: float = knob("60", read_seconds, "seconds for all tries of one callback, before --speed")
    callback_retry_4xx: bool = knob(True, read_flag, "retry on every answer that is not 2xx")
    url_ttl: float = knob("86400", read_seconds, "seconds a result URL works")
    resign: bool = knob(False, read_flag, "each read signs result URLs afresh; else they end --url-ttl after the end")
    billing_seconds: float = knob("2", read_seconds, "seconds GET shows an end before the callback, before --speed")
    codes: str = knob("mixed", one_of("mixed", "int", "string"), "what the code of an HTTP error is")
    refuse_private: bool = knob(False, read_flag, "callbacks to private and loopback addresses are refused, as really")
    callback_without_error: bool = knob(False, read_flag, "the callback of a failed task leaves out its error")


@dataclass
class RemovebgvideoFaults(TaskFaults):
    """RemoveBGVideo (UPSTREAMS §4), which leaves its callbacks' body, retries and timeouts open: knobs."""

    url_ttl: float = knob("604800", read_seconds, "seconds an output URL works (not documented)")
    signing_secret: str | None = knob(None, read_optional_text, "callbacks are signed with it", secret=True)
    body: str = knob("wrapped", one_of(*BODY_SHAPES), "what a callback's body looks like (not documented)")
    listing: str = knob("jobs", one_of("bare", "jobs", "data", "items"), "the list's envelope (not documented)")
    plain_errors: str = knob(
        "message", one_of("message", "detail", "envelope", "text"), "the shape of errors that have no code"
    )
    backlog: Chance = knob("0.3", read_chance, "jobs that wait as pending before they are processed")
    bad_gateway: Chance = knob("0", read_chance, "requests answered with a 502 that is not JSON")


@dataclass
class FalFaults(TaskFaults):
    """fal's queue (UPSTREAMS §5.2)."""

    callback_retries: int = knob("10", read_count, "tries after the first one fails")
    callback_backoff: float = knob("7", read_seconds, "seconds before the first retry, then doubled, before --speed")
    callback_timeout: float = knob("15", read_seconds, "seconds for one try, before --speed")
    callback_total: float = knob("7200", read_seconds, "seconds for all tries of one callback, before --speed")
    callback_retry_4xx: bool = knob(True, read_flag, "retry on every answer that is not 2xx")
    url_ttl: float = knob("604800", read_seconds, "seconds an output URL works")
    resign: bool = knob(False, read_flag, "each read signs output URLs afresh; else they end --url-ttl after the end")
    payload_errors: Chance = knob("0", read_chance, "successes whose callback has no payload, only a payload_error")
    signing_key: int = knob("1", read_limit, "number of the key that signs; the key set has it and the one before")
    jwks_down: bool = knob(False, read_flag, "the key set is a 503")


@dataclass
class StandardFaults(TaskFaults):
    """Upstreams that sign as Standard Webhooks says (UPSTREAMS §5.0)."""

    callback_retry_4xx: bool = knob(True, read_flag, "retry on every answer that is not 2xx")
    signing_secret: str = knob(WHSEC, read_text, "callbacks are signed with it", secret=True)


@dataclass
class ReplicateFaults(StandardFaults):
    """Replicate (UPSTREAMS §5.1)."""

    callback_retries: int = knob("5", read_count, "tries after the first one fails, of the last callback only")
    callback_total: float = knob("60", read_seconds, "seconds for all tries of one callback, before --speed")
    resign: bool = knob(False, read_flag, "each read signs output URLs afresh; else they end --url-ttl after the end")
    url_ttl: float = knob("3600", read_seconds, "seconds an output URL works")
    kept: float = knob("3600", read_seconds, "seconds after an end until the data is removed, before --speed")


@dataclass
class OpenaiFaults(StandardFaults):
    """OpenAI's responses (UPSTREAMS §5.3)."""

    callback_retries: int = knob("8", read_count, "tries after the first one fails")
    callback_total: float = knob("259200", read_seconds, "seconds for all tries of one callback, before --speed")
    incomplete: Chance = knob("0", read_chance, "responses that end incomplete")
    webhook_url: str | None = knob(None, read_optional_text, "the project's endpoint for events", secret=True)
