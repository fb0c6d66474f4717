"""OpenRouter's errors as data: HTTP answers, whose `error.code` repeats the status, and endings of a generation.

Source: openrouter.ai/docs/api/reference/errors-and-debugging. A failed generation's `error` is free text of whichever
upstream made the video.
"""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, NEVER, RETRY, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

ERRORS = ErrorTable(
    [
        Rule(None, FIX_REQUEST, "The request does not fit the model: see the message.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is missing, disabled or expired: get a new one.", 401),
        Rule(None, FIX_ACCOUNT, "Not enough credits: add some.", 402),
        Rule(None, FIX_REQUEST, "The input was flagged by moderation: never send the same input again.", 403),
        Rule(None, FIX_REQUEST, "No such model or generation, or this key cannot see it.", 404),
        Rule(None, RETRY_LATER, "The request took too long: try again later.", 408),
        Rule(None, RETRY_LATER, "Rate limit: back off as Retry-After says.", 429),
        Rule(
            None, RETRY_LATER, "A passing fault upstream: look whether the generation exists before sending again.", 500
        ),
        Rule(None, RETRY_LATER, "The model's provider is down or answered nonsense: try later or another model.", 502),
        Rule(None, RETRY_LATER, "No provider can serve this now: try later, or loosen the routing.", 503),
        Rule(
            None,
            FIX_REQUEST,
            "Refused by moderation: never send the same input again.",
            contains=("moderation", "safety", "content policy", "flagged", "nsfw"),
        ),
        Rule("expired", RETRY, "It was not done in time: safe to send again."),
        Rule("cancelled", NEVER, "Somebody cancelled it: send again only on purpose."),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
