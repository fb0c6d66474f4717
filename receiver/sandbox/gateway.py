"""What stands in front of an upstream: a proxy with pages of its own, and reads that fail for no fault of theirs."""

from __future__ import annotations

import random
from collections.abc import Callable

from starlette.responses import HTMLResponse, Response

from receiver.sandbox.upstream_faults import UpstreamFaults


def gateway(status: int) -> Response:
    """What the proxy in front answers when the upstream does not."""
    words = {502: "Bad gateway", 503: "Service unavailable", 524: "A timeout occurred"}[status]
    page = f"<!DOCTYPE html>\n<html><head><title>{status}: {words}</title></head><body><h1>{words}</h1></body></html>"
    return HTMLResponse(page, status)


def retry_after(faults: UpstreamFaults) -> dict[str, str] | None:
    """The header where one is to be sent; no upstream documents whether it comes with a 429, so it is a knob."""
    return None if faults.retry_after is None else {"Retry-After": str(faults.retry_after)}


def read_fault(
    faults: UpstreamFaults, rng: random.Random, error: Callable[[int, dict[str, str] | None], Response]
) -> Response | None:
    """The error this read gets instead of its answer, if any; `error` is the upstream's own shape of it."""
    if faults.html_errors.hit(rng):
        return gateway(rng.choice((502, 524)))
    if faults.status_429.hit(rng):
        return error(429, retry_after(faults))
    if faults.status_5xx.hit(rng):
        status = rng.choice((500, 503))
        return error(status, retry_after(faults) if status == 503 else None)
    return None
