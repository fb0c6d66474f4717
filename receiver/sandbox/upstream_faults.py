"""The knobs every stand-in has. Times in seconds; what a chance is: `receiver.sandbox.faults`."""

from __future__ import annotations

# ruff: noqa: RUF009 - `knob` returns a dataclasses.field
from dataclasses import dataclass

from receiver.sandbox.faults import (
    Chance,
    DeliveryFaults,
    Outage,
    knob,
    read_chance,
    read_count,
    read_flag,
    read_offset,
    read_optional_count,
    read_optional_text,
    read_outage,
    read_seconds,
    read_text,
)


@dataclass
class UpstreamFaults(DeliveryFaults):
    """What can go wrong at any upstream, beside the sending of callbacks."""

    fail: Chance = knob("0", read_chance, "workflows that fail")
    unknown_status: Chance = knob("0", read_chance, "workflows that pass through a status word nobody documented")
    html_errors: Chance = knob("0", read_chance, "reads answered with a gateway's HTML page")
    status_429: Chance = knob("0", read_chance, "reads answered with 429")
    status_5xx: Chance = knob("0", read_chance, "reads answered with 500 or 503")
    submit_429: Chance = knob("0", read_chance, "submits answered with 429")
    submit_500: Chance = knob("0", read_chance, "submits answered with 500 although the workflow exists")
    retry_after: int | None = knob(None, read_optional_count, "seconds in a Retry-After header of 429 and 503")
    latency: float = knob("0", read_seconds, "seconds every read waits before it is answered")
    outage: Outage | None = knob(None, read_outage, "START:DURATION, seconds from now during which all is down")
    api_key: str = knob("sandbox-key", read_text, "the only key taken", secret=True)
    revoked: bool = knob(False, read_flag, "no key is taken")
    url_ttl: float = knob("300", read_seconds, "seconds a signed output URL works")
    file_size: int = knob("0", read_count, "bytes an output file has at least")
    file_rate: int = knob("0", read_count, "bytes of a file sent in a second; 0 is as fast as it goes")
    file_ranges: bool = knob(True, read_flag, "parts of files can be asked for")
    file_broken: Chance = knob("0", read_chance, "files whose connection breaks off half way (without --file-rate)")
    retention: float = knob("2592000", read_seconds, "seconds an ended workflow can be read")
    allow_http: bool = knob(True, read_flag, "callbacks to plain http are taken (the real one refuses them)")
    clock_skew: float = knob("0", read_offset, "seconds the sandbox's clock is ahead")
    public_url: str | None = knob(None, read_optional_text, "what output URLs begin with, when not the bound address")
