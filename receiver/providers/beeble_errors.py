"""Beeble's errors as data (UPSTREAMS §2.6): the newest table, and the codes of the older page that it replaced.

Dispositions are ours: Beeble documents none. A failed job has a plain sentence and no code (UPSTREAMS §2.3).
"""

from __future__ import annotations

from receiver.providers.advice import (
    FIX_ACCOUNT,
    FIX_REQUEST,
    RETRY_LATER,
    RETRY_ONCE,
    Disposition,
    ErrorTable,
    Rule,
)

_INVALID: dict[str, str] = {
    "INVALID_GENERATION_TYPE": "`generation_type` must be image or video.",
    "INVALID_ALPHA_MODE": "`alpha_mode` must be auto, fill, custom or select.",
    "INVALID_MAX_RESOLUTION": "`max_resolution` must be 720 or 1080.",
    "MISSING_STYLE_INPUT": "Give a `prompt` or a `reference_image_uri`: there is neither.",
    "MISSING_SOURCE": "`source_uri` is missing.",
    "MISSING_ALPHA": "This `alpha_mode` needs an `alpha_uri`.",
    "INVALID_FILE_FORMAT": "The file's format is not supported: mp4, mov, png, jpg, jpeg or webp.",
    "ALPHA_TYPE_MISMATCH": "The alpha must be of the source's kind: an image for an image, a video for a video.",
    "ALPHA_MUST_BE_IMAGE": "The alpha must be an image here.",
    "SOURCE_TOO_LARGE": "The source has more than 2,770,000 pixels: send a smaller one.",
    "VIDEO_TOO_MANY_FRAMES": "The source has more than 240 frames: send a shorter one.",
    "INVALID_URI": "The URI's form is wrong, or the file's type cannot be told from it.",
    "INVALID_FILENAME": "The filename is invalid, or its extension is not supported.",
    "INVALID_CALLBACK_URL": "The callback URL must be https and reachable from the outside.",
}

_ACCOUNT: dict[str, str] = {
    "INVALID_API_KEY": "The API key is missing, wrong or revoked: make a new one in the console.",
    "BILLING_NOT_CONFIGURED": "The account has no billing yet: set it up.",
    "INSUFFICIENT_BALANCE": "The balance does not cover this: top up.",
    "INSUFFICIENT_CREDITS": "The credits do not cover this: top up.",
    "HARD_LIMIT_EXCEEDED": "The account's spending limit is reached: have it raised.",
}

_PASSING: dict[str, str] = {
    "RATE_LIMIT_EXCEEDED": "5 writes and 5 reads a minute for the whole account: wait, and spread requests out.",
    "CONCURRENT_LIMIT_EXCEEDED": "10 jobs run already: wait until one has ended.",
    "INTERNAL_ERROR": "A fault upstream: back off; an `idempotency_key` keeps a retry from running twice.",
    "UPLOAD_URL_FAILED": "Upstream could not make an upload URL: back off and ask again.",
    "JOB_QUEUE_FAILED": "Upstream could not queue the job: back off and send it again.",
}


def _rules(disposition: Disposition, texts: dict[str, str]) -> list[Rule]:
    return [Rule(code, disposition, text) for code, text in texts.items()]


ERRORS = ErrorTable(
    [
        *_rules(FIX_REQUEST, _INVALID),
        *_rules(FIX_ACCOUNT, _ACCOUNT),
        *_rules(RETRY_LATER, _PASSING),
        Rule(
            "SOURCE_UNREACHABLE",
            RETRY_ONCE,
            "Upstream cannot reach the source, alpha or reference: see that its URL is public; once more may do.",
        ),
        Rule("JOB_NOT_FOUND", FIX_REQUEST, "No such job, or it is another account's: check the id and the key."),
        # The one code that stands under two statuses: the status says whose fault it is.
        Rule("CREDIT_DEDUCTION_FAILED", FIX_ACCOUNT, "The credits could not be taken: check billing and balance.", 402),
        Rule("CREDIT_DEDUCTION_FAILED", RETRY_LATER, "Upstream's billing failed: back off and send it again.", 500),
        Rule("credit_required", FIX_ACCOUNT, "The job wants credits that the account does not have: top up."),
        Rule(None, FIX_REQUEST, "The request is invalid: fix what the message names.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is missing, wrong or revoked.", 401),
        Rule(None, FIX_ACCOUNT, "Billing, balance or spending limit stand in the way: settle them first.", 402),
        Rule(None, FIX_ACCOUNT, "The API key may not do this.", 403),
        Rule(None, FIX_REQUEST, "No such job, or it is another account's: check the id and the key.", 404),
        Rule(
            None,
            FIX_REQUEST,
            "The `idempotency_key` belongs to another request, it seems (409 is not documented): use a new one.",
            409,
        ),
        Rule(None, RETRY_LATER, "Too many requests for this account: wait a minute.", 429, retry_after=60),
        Rule(None, RETRY_LATER, "A fault upstream: back off and try again.", 500),
        Rule(None, RETRY_ONCE, "It failed without a code, as Beeble's jobs do: safe to send once more as it is."),
    ]
)
