"""EvoLink's errors: of tasks with messages as its page shows them (seed 003), of HTTP by type (UPSTREAMS §3.5)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from receiver.sandbox.wire import is_web_url

# The first message of a code is the one a task gets when only the code is named.
FAILURES: tuple[tuple[str | None, str], ...] = (
    ("generation_failed_no_content", "The model was unable to produce output for your request."),
    ("content_policy_violation", "Content policy violation. Details: photorealistic people detected."),
    ("content_policy_violation", "Content policy violation. Details: celebrity detected in image"),
    ("content_policy_violation", "Content policy violation. Details: third-party content violation"),
    ("content_policy_violation", "Content policy violation. Details: nudity detected"),
    ("content_policy_violation", "Content policy violation. Details: violence content blocked"),
    ("content_policy_violation", "Content policy violation. Details: minor content not allowed"),
    ("content_policy_violation", "content policy violation"),
    ("invalid_parameters", "Prompt is too long"),
    ("invalid_parameters", "image dimensions must be between 240 and 7680"),
    ("invalid_parameters", "file size exceeds 10MB"),
    ("invalid_parameters", "unsupported file type"),
    ("invalid_parameters", "Video duration must be between 1-30 seconds"),
    ("image_processing_error", "The system could not process the input image."),
    ("image_dimension_mismatch", "The input image dimensions do not match the dimensions specified in the request."),
    ("request_cancelled", "The task was cancelled or interrupted during processing."),
    ("service_error", "An internal issue occurred in the upstream service."),
    ("generation_timeout", "The task did not complete within the allowed time."),
    ("resource_exhausted", "Upstream service compute resources are temporarily depleted."),
    ("quota_exceeded", "Request frequency or concurrency limits have been exceeded."),
    ("service_unavailable", "An internal authentication or connection issue occurred."),
    ("resource_not_found", "The requested task ID does not exist or has expired."),
    ("unknown_error", "An unclassified error."),
)
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    413: "request_too_large_error",
    429: "rate_limit_error",
    500: "internal_server_error",
    502: "upstream_error",
    503: "service_unavailable_error",
}
MESSAGES = {
    400: "Invalid request parameters",
    401: "Invalid or expired token",
    402: "Insufficient quota, please top up",
    403: "You do not have permission to access this resource",
    404: "Task not found",
    409: "The idempotency key was used for another request",
    413: "Request body is too large",
    429: "Rate limit exceeded, please try again later",
    500: "Internal server error",
    502: "Upstream service error",
    503: "Service temporarily unavailable",
}
# The gateway's string codes (§3.5); the pages name no status for each, so these are the ones their meaning suggests.
GATEWAY_CODES = {
    401: ("key_disabled", "key_expired"),
    402: ("insufficient_quota", "insufficient_user_quota", "quota_not_enough", "key_quota_exhausted"),
    403: ("key_model_not_allowed",),
    404: ("task_not_found",),
    409: ("idempotency_conflict",),
    429: ("token_daily_quota_exceeded",),
    500: ("paid_outcome_unknown",),
    503: ("no_available_channel", "model_unavailable"),
}


def wrong_callback(url: object, *, allow_http: bool, refuse_private: bool) -> str | None:
    """Why a `callback_url` is refused (§3.3: HTTPS, 2048 characters, nothing internal); None when it is taken."""
    if not isinstance(url, str) or not is_web_url(url, allow_http=allow_http):
        return "callback_url must be an HTTPS URL"
    if len(url) > 2048:
        return "callback_url must not be longer than 2048 characters"
    if refuse_private and _is_internal(urlsplit(url).hostname or ""):
        return "callback_url must not point to an internal address"
    return None


def _is_internal(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
