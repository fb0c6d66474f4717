"""Luma's errors as data (UPSTREAMS §5.5): HTTP answers, and a generation's `failure_reason`, which is free text."""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

ERRORS = ErrorTable(
    [
        Rule(None, FIX_REQUEST, "The request is malformed or was refused by moderation: see the message.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is missing, wrong or revoked: make a new one.", 401),
        Rule(None, FIX_ACCOUNT, "The account has no credits left: see to that first.", 402),
        Rule(None, FIX_ACCOUNT, "The key may not do this.", 403),
        Rule(None, FIX_REQUEST, "No such generation, or it belongs to another account.", 404),
        Rule(None, FIX_REQUEST, "A field of the request is wrong; the message names it.", 422),
        Rule(None, RETRY_LATER, "Too many requests, or too many generations at once: wait for some to end.", 429),
        Rule(None, RETRY_LATER, "A passing fault upstream: look whether a generation was made first.", 500),
        Rule(
            None,
            FIX_REQUEST,
            "Refused by content moderation: never send the same input again.",
            contains=("moderation", "content policy", "nsfw", "copyright", "inappropriate"),
        ),
        Rule(
            None, FIX_ACCOUNT, "The account has no credits left.", contains=("insufficient credits", "credit balance")
        ),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
