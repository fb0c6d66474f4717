"""RemoveBGVideo's errors as data (UPSTREAMS §4.7): codes, HTTP answers, and the plain sentences of the older routes.

The `error` of a failed job is a sentence too, or a bare code.
"""

from __future__ import annotations

from receiver.providers.advice import (
    FIX_ACCOUNT,
    FIX_REQUEST,
    RETRY,
    RETRY_LATER,
    RETRY_ONCE,
    Disposition,
    ErrorTable,
    Rule,
)

_CODES: tuple[tuple[str, Disposition, str], ...] = (
    ("missing_api_key", FIX_ACCOUNT, "The header X-Api-Key is missing: send the key with every request to /v1."),
    ("invalid_api_key", FIX_ACCOUNT, "Wrong key, or a disabled one: rotate it, and check which environment has which."),
    ("invalid_request", FIX_REQUEST, "The request is invalid: fix what the message names."),
    ("insufficient_credits", FIX_ACCOUNT, "The account's credits are below what this needs: top up before a retry."),
    ("rate_limited", RETRY_LATER, "Too many requests with this key: wait 1-2, 2-4, 4-8, 8-16 s with jitter."),
    ("internal_error", RETRY_LATER, "A passing fault upstream: wait 1-2, 2-4, 4-8, 8-16 s with jitter."),
    ("timeout", RETRY, "It ran out of time (a long queue, or large media): safe to send again."),
)

_WRONG_FILE = "Upstream takes mp4, quicktime, webm and x-msvideo."
_TOO_LARGE = "Upstream takes at most 500 MB: send a smaller file."
_NO_JOB = "No such job: check the id, and that this key's account made it."
_FAILED = "Processing failed: start the job again, or send it anew; if it repeats, report it with its incident."

# Sentences that come with a status, in the error's message or as the whole body.
_SENTENCES: tuple[tuple[int | None, str, Disposition, str], ...] = (
    (400, "invalid file type", FIX_REQUEST, _WRONG_FILE),
    (400, "file too large", FIX_REQUEST, _TOO_LARGE),
    (400, "job not completed", RETRY_LATER, "The job has not ended: ask again later; nothing is wrong with it."),
    (404, "job not found", FIX_REQUEST, _NO_JOB),
    (500, "processing failed", RETRY_LATER, _FAILED),
    (None, "invalid file type", FIX_REQUEST, _WRONG_FILE),
    (None, "file too large", FIX_REQUEST, _TOO_LARGE),
    (None, "job not completed", RETRY_LATER, "The job has not ended: ask again later; nothing is wrong with it."),
    (None, "job not found", FIX_REQUEST, _NO_JOB),
    (None, "processing failed", RETRY_LATER, _FAILED),
)

_HTTP: tuple[tuple[int, Disposition, str], ...] = (
    (400, FIX_REQUEST, "The request is invalid: fix what the message names."),
    (401, FIX_ACCOUNT, "Wrong key, or a disabled one: rotate it, and check which environment has which."),
    (402, FIX_ACCOUNT, "The account's credits are below what this needs: top up before a retry."),
    (403, FIX_ACCOUNT, "The key may not do this."),
    (404, FIX_REQUEST, _NO_JOB),
    (413, FIX_REQUEST, _TOO_LARGE),
    (422, FIX_REQUEST, "The request is invalid: fix what the message names."),
    (429, RETRY_LATER, "Too many requests with this key: wait 1-2, 2-4, 4-8, 8-16 s with jitter."),
    (
        500,
        RETRY_LATER,
        "A passing fault upstream, or of the proxy before it: wait with jitter, and give up after a few.",
    ),
)

ERRORS = ErrorTable(
    [
        *(Rule(*row) for row in _CODES),
        *(Rule(None, disposition, text, http, contains=(said,)) for http, said, disposition, text in _SENTENCES),
        *(Rule(None, disposition, text, http) for http, disposition, text in _HTTP),
        Rule(None, RETRY_ONCE, "It failed without a reason: safe to start once more as it is."),
    ]
)
