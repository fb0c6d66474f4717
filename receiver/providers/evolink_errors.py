"""EvoLink's errors as data: HTTP answers, gateway codes and the codes of failed tasks (UPSTREAMS §3.5 and §3.6).

The sub-types of `content_policy_violation` and `invalid_parameters` are told apart by the message, as EvoLink's own
table of errors tells them; the first that matches counts, so those that must not be missed stand first.
"""

from __future__ import annotations

from receiver.providers.advice import (
    CONTACT,
    FIX_ACCOUNT,
    FIX_REQUEST,
    NEVER,
    RETRY,
    RETRY_LATER,
    RETRY_ONCE,
    Disposition,
    ErrorTable,
    Rule,
)

_TASK: tuple[tuple[str, Disposition, str], ...] = (
    (
        "content_policy_violation",
        FIX_REQUEST,
        "Blocked by safety filters: change the content, never send it as it is.",
    ),
    ("invalid_parameters", FIX_REQUEST, "The parameters do not meet the model's requirements: fix them."),
    (
        "image_processing_error",
        FIX_REQUEST,
        "The image could not be had or read: see that its URL is public and it is no HEIC or AVIF, or use another.",
    ),
    ("image_dimension_mismatch", FIX_REQUEST, "The image's dimensions are not those asked for: resize it."),
    ("request_cancelled", RETRY, "The task was cancelled or interrupted: safe to send again."),
    (
        "generation_failed_no_content",
        RETRY_ONCE,
        "The model made nothing: once more may do; after that, write another prompt.",
    ),
    ("service_error", RETRY_LATER, "A passing fault of the model's service: wait, then send it again."),
    ("generation_timeout", RETRY_LATER, "It did not end in time: send it again later, perhaps with less work in it."),
    ("resource_exhausted", RETRY_LATER, "The model's capacity is used up just now: wait, then send it again."),
    ("quota_exceeded", RETRY_LATER, "Too many requests or tasks at once: send fewer, then this one again."),
    ("service_unavailable", RETRY_LATER, "The service is unavailable just now: wait, then send it again."),
    ("resource_not_found", FIX_REQUEST, "The task's id is wrong or has expired: check it."),
    ("unknown_error", CONTACT, "An unclassified error: ask EvoLink's support, with the task's id."),
    # Not in the table of errors, but seen in real tasks [E-cli; E-repo].
    ("invalid_request", FIX_REQUEST, "The request is not valid for this model: fix it."),
    ("invalid_audio", FIX_REQUEST, "The audio cannot be used: send another."),
)

_CONTENT: tuple[tuple[tuple[str, ...], str], ...] = (
    (("minor content", "minors", "underage", "child"), "Sensitive content that involves minors: never."),
    (
        ("photorealistic people", "human face", "real person"),
        "The image shows real human faces: use another.",
    ),
    (("celebrity", "public figure"), "A celebrity or public figure is recognisable: use somebody else."),
    (("third-party content", "copyright", "trademark", "logo"), "Logos, trademarks or protected works: take them out."),
    (("nudity", "nsfw", "sexual", "adult content"), "Nudity or sexual content: take it out."),
    (("violence", "violent", "self-harm", "graphic content"), "Violence or self-harm: take it out."),
)

_PARAMETERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("prompt is too long", "prompt too long"), "The prompt is longer than the model takes: shorten it."),
    (("image dimension", "aspect ratio"), "The image's size or shape is outside what the model takes: resize it."),
    (("file size", "file too large"), "The file is too large: send a smaller one."),
    (("unsupported file", "unsupported format", "format is not supported"), "The file's format is not supported."),
    (("video duration",), "The video's duration is outside what the model takes: cut it."),
)

_GATEWAY: tuple[tuple[str, Disposition, str], ...] = (
    ("insufficient_quota", FIX_ACCOUNT, "The credits do not cover this: top up."),
    ("insufficient_user_quota", FIX_ACCOUNT, "The credits do not cover this: top up."),
    ("quota_not_enough", FIX_ACCOUNT, "The credits do not cover this: top up."),
    ("key_quota_exhausted", FIX_ACCOUNT, "The key's own quota is used up: raise it, or use another key."),
    ("token_daily_quota_exceeded", FIX_ACCOUNT, "The key's quota for the day is used up: raise it, or wait a day."),
    ("key_disabled", FIX_ACCOUNT, "The key is disabled: enable it, or use another."),
    ("key_expired", FIX_ACCOUNT, "The key has expired: make a new one."),
    ("key_model_not_allowed", FIX_ACCOUNT, "The key may not use this model: allow it, or use another key."),
    ("idempotency_conflict", FIX_REQUEST, "The Idempotency-Key belongs to another request: use a new one."),
    (
        "paid_outcome_unknown",
        NEVER,
        "It may have been paid for and be running: look the task up; never send it again blindly.",
    ),
    ("no_available_channel", RETRY_LATER, "No provider of this model is available: wait, or use another model."),
    ("model_unavailable", RETRY_LATER, "The model is unavailable just now: wait, or use another model."),
    ("invalid_task_id", FIX_REQUEST, "A task's id begins with `task-unified-`: check it."),
    ("task_not_found", FIX_REQUEST, "No such task: check its id, and that this key's account submitted it."),
)

# (HTTP status, `error.type`): `error.code` may be the status as a number, a word, or missing.
_HTTP: tuple[tuple[int, str, Disposition, str], ...] = (
    (400, "invalid_request_error", FIX_REQUEST, "The request is invalid: fix what `param` and the message name."),
    (401, "authentication_error", FIX_ACCOUNT, "The key is missing or wrong: make a new one."),
    (402, "insufficient_quota_error", FIX_ACCOUNT, "The credits do not cover this: top up."),
    (403, "permission_error", FIX_ACCOUNT, "The key may not do this: allow it in the console."),
    (404, "not_found_error", FIX_REQUEST, "There is no such task or model: check the name."),
    (413, "request_too_large_error", FIX_REQUEST, "The request is too large: send less."),
    (429, "rate_limit_error", RETRY_LATER, "Too many requests: wait as long as Retry-After says."),
    (
        500,
        "internal_server_error",
        RETRY_ONCE,
        "A fault upstream, and it may have been charged: look for the task before sending it once more.",
    ),
    (502, "upstream_error", RETRY_LATER, "The model's provider failed: back off and send it again."),
    (503, "service_unavailable_error", RETRY_LATER, "Unavailable: wait half a minute, then send it again."),
)

_WAITS = {503: 30.0}


def _http_rules() -> list[Rule]:
    """Each status by itself, by its `type`, and by its number as the code of a failed task."""
    return [
        Rule(code, disposition, text, http, retry_after=_WAITS.get(status))
        for status, kind, disposition, text in _HTTP
        for code, http in ((None, status), (kind, None), (str(status), None))
    ]


ERRORS = ErrorTable(
    [
        *(Rule(*row) for row in _TASK),
        *(Rule("content_policy_violation", FIX_REQUEST, text, contains=said) for said, text in _CONTENT),
        *(Rule("invalid_parameters", FIX_REQUEST, text, contains=said) for said, text in _PARAMETERS),
        *(Rule(*row) for row in _GATEWAY),
        *_http_rules(),
        Rule(None, RETRY_ONCE, "It failed without a reason: safe to send once more as it is."),
    ]
)
