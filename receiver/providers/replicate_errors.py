"""Replicate's errors as data: HTTP answers, and the `error` text of a failed prediction (UPSTREAMS §5.1).

The prediction's error is free text of the model's author; only the sentences Replicate itself writes can be told apart.
"""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, NEVER, RETRY, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

ERRORS = ErrorTable(
    [
        Rule(None, FIX_REQUEST, "The request is malformed: see the message.", 400),
        Rule(None, FIX_ACCOUNT, "The API token is missing, wrong or revoked: get a new one.", 401),
        Rule(None, FIX_ACCOUNT, "The account has no credit left or its billing is not set up: see to that first.", 402),
        Rule(None, FIX_ACCOUNT, "The token may not use this model or deployment.", 403),
        Rule(None, FIX_REQUEST, "No such model, version or prediction, or this token cannot see it.", 404),
        Rule(None, FIX_REQUEST, "The input does not fit the model's schema; the message names the field.", 422),
        Rule(None, RETRY_LATER, "Rate limit: wait as long as the message or Retry-After says.", 429),
        Rule(
            None, RETRY_LATER, "A passing fault upstream: look whether a prediction was made before sending again.", 500
        ),
        Rule(
            None,
            FIX_REQUEST,
            "The model's safety check refused it: never send the same input again.",
            contains=("nsfw", "sensitive", "safety", "content policy", "moderation"),
        ),
        Rule(
            None,
            FIX_REQUEST,
            "The model ran out of memory: ask for less (size, steps, number of outputs).",
            contains=("out of memory",),
        ),
        Rule(
            None,
            RETRY,
            "Upstream interrupted it or ran out of time: safe to send again.",
            contains=("interrupted", "timed out", "timeout"),
        ),
        Rule("canceled", NEVER, "Somebody canceled it: send again only on purpose."),
        Rule(
            "aborted", RETRY, "It was stopped before it had started, for example at its deadline: safe to send again."
        ),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
