"""Upstream's errors in all their shapes (UPSTREAMS §1.9): RFC 7807, a bare JSON string on 403."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.gateway import retry_after

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


def too_many(faults: CivitaiFaults) -> Response:
    """429. Whether Retry-After comes is not documented: a knob."""
    return failed_read(429, retry_after(faults))


def failed_read(status: int, headers: dict[str, str] | None) -> Response:
    """429, 500 or 503."""
    return problem(status, "Rate limit exceeded." if status == 429 else None, headers)
