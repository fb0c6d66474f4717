"""What Beeble refuses of a request, with the codes and sentences of its error page (UPSTREAMS §2.2, §2.6, seed 002)."""

from __future__ import annotations

from typing import Any

from receiver.sandbox.wire import is_web_url

SENTENCES = {
    "INVALID_GENERATION_TYPE": 'generation_type must be "image" or "video"',
    "INVALID_ALPHA_MODE": 'alpha_mode must be "auto", "fill", "custom" or "select"',
    "INVALID_MAX_RESOLUTION": "max_resolution must be 720 or 1080",
    "MISSING_STYLE_INPUT": "Neither reference_image_uri nor prompt was provided",
    "MISSING_SOURCE": "source_uri is required",
    "MISSING_ALPHA": 'alpha_uri required when alpha_mode is "custom"',
    "ALPHA_TYPE_MISMATCH": "Alpha type doesn't match source (image vs video)",
    "INVALID_URI": "URI format invalid or file type could not be determined",
    "SOURCE_UNREACHABLE": "Source, alpha, or reference URI is not reachable",
    "INVALID_FILENAME": "Filename invalid or unsupported extension",
    "INVALID_CALLBACK_URL": "Callback URL is not valid HTTPS or is unreachable",
    "INVALID_API_KEY": "API key is missing or invalid",
    "INSUFFICIENT_CREDITS": "Not enough credits for this operation",
    "JOB_NOT_FOUND": "Job doesn't exist or is not owned by you",
    "RATE_LIMIT_EXCEEDED": "Too many requests",
    "INTERNAL_ERROR": "Unexpected server error",
    "CREDIT_DEDUCTION_FAILED": "Failed to process credit deduction",
    "UPLOAD_URL_FAILED": "Failed to generate upload URL",
    "JOB_QUEUE_FAILED": "Failed to queue job for processing",
}
STATUS_OF = {
    "INVALID_API_KEY": 401,
    "BILLING_NOT_CONFIGURED": 402,
    "INSUFFICIENT_BALANCE": 402,
    "HARD_LIMIT_EXCEEDED": 402,
    "CREDIT_DEDUCTION_FAILED": 402,
    "INSUFFICIENT_CREDITS": 402,
    "JOB_NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "CONCURRENT_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "UPLOAD_URL_FAILED": 500,
    "JOB_QUEUE_FAILED": 500,
}
ENDINGS = (".mp4", ".mov", ".png", ".jpg", ".jpeg", ".webp")


class Wrong(Exception):
    """A request that is a 400; `code` of the table."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def check_upload(body: dict[str, Any]) -> str:
    """The file name of an upload, or Wrong."""
    name = body.get("filename")
    if not isinstance(name, str) or not 3 <= len(name) <= 255 or not name.lower().endswith(ENDINGS) or "/" in name:
        raise Wrong("INVALID_FILENAME")
    return name


def check_generation(body: dict[str, Any], *, allow_http: bool) -> None:
    """Wrong, with the code for the first thing that is."""
    if body.get("generation_type") not in ("image", "video"):
        raise Wrong("INVALID_GENERATION_TYPE")
    if body.get("alpha_mode") not in ("auto", "fill", "custom", "select"):
        raise Wrong("INVALID_ALPHA_MODE")
    if body.get("max_resolution", 1080) not in (720, 1080):
        raise Wrong("INVALID_MAX_RESOLUTION")
    if not (body.get("prompt") or body.get("reference_image_uri")):
        raise Wrong("MISSING_STYLE_INPUT")
    if not body.get("source_uri"):
        raise Wrong("MISSING_SOURCE")
    if body["alpha_mode"] in ("custom", "select") and not body.get("alpha_uri"):
        raise Wrong("MISSING_ALPHA")
    for field in ("source_uri", "alpha_uri", "reference_image_uri"):
        if body.get(field) is not None and not _is_uri(body[field]):
            raise Wrong("INVALID_URI")
    if body.get("callback_url") is not None and not is_web_url(body["callback_url"], allow_http=allow_http):
        raise Wrong("INVALID_CALLBACK_URL")


def _is_uri(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("beeble://", "https://", "http://", "data:"))
