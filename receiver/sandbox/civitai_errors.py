"""Upstream's errors in all their shapes (UPSTREAMS §1.9): RFC 7807, a bare JSON string on 403, a gateway's HTML."""

from __future__ import annotations

import random

from starlette.responses import HTMLResponse, JSONResponse, Response

from receiver.sandbox.civitai_faults import CivitaiFaults

TITLES = {
    400: ("15.5.1", "Bad Request"),
    401: ("15.5.2", "Unauthorized"),
    403: ("15.5.4", "Forbidden"),
    404: ("15.5.5", "Not Found"),
    409: ("15.5.10", "Conflict"),
    429: ("", "Too Many Requests"),
    500: ("15.6.1", "An error occurred while processing your request."),
    503: ("15.6.4", "Service Unavailable"),
}
PROBLEM = "application/problem+json"


def problem(status: int, detail: str | None = None, headers: dict[str, str] | None = None) -> Response:
    """ProblemDetails."""
    section, title = TITLES[status]
    type_ = f"https://tools.ietf.org/html/rfc9110#section-{section}" if section else None
    body: dict[str, object] = {"type": type_, "title": title, "status": status}
    if detail:
        body["detail"] = detail
    return JSONResponse(body, status, headers, media_type=PROBLEM)


def invalid(errors: dict[str, list[str]]) -> Response:
    """ValidationProblemDetails."""
    body = {
        "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
        "title": "One or more validation errors occurred.",
        "status": 400,
        "errors": errors,
    }
    return JSONResponse(body, 400, media_type=PROBLEM)


def forbidden(sentence: str) -> Response:
    """Submit's 403: the body is a bare JSON string."""
    return JSONResponse(sentence, 403)


def gateway(status: int) -> Response:
    """What the proxy in front answers when the orchestrator does not."""
    words = {502: "Bad gateway", 503: "Service unavailable", 524: "A timeout occurred"}[status]
    page = f"<!DOCTYPE html>\n<html><head><title>{status}: {words}</title></head><body><h1>{words}</h1></body></html>"
    return HTMLResponse(page, status)


def too_many(faults: CivitaiFaults) -> Response:
    """429. Whether Retry-After comes is not documented: a knob."""
    return problem(429, "Rate limit exceeded.", _retry_after(faults))


def read_fault(faults: CivitaiFaults, rng: random.Random) -> Response | None:
    """The error this read gets instead of its answer, if any."""
    if faults.html_errors.hit(rng):
        return gateway(rng.choice((502, 524)))
    if faults.status_429.hit(rng):
        return too_many(faults)
    if faults.status_5xx.hit(rng):
        status = rng.choice((500, 503))
        return problem(status, None, _retry_after(faults) if status == 503 else None)
    return None


def _retry_after(faults: CivitaiFaults) -> dict[str, str] | None:
    return None if faults.retry_after is None else {"Retry-After": str(faults.retry_after)}
