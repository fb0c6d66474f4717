"""OpenAI's errors as data: HTTP answers, and the `error` of a failed response, batch, job or run.

Sources: developers.openai.com/api/docs/guides/error-codes; PyPI `openai` 3.52.0 `types/responses/response_error.py`.
"""

from __future__ import annotations

from receiver.providers.advice import CONTACT, FIX_ACCOUNT, FIX_REQUEST, NEVER, RETRY, RETRY_LATER, ErrorTable, Rule

_IMAGE = "The input image cannot be used ({}): send another."
_IMAGES = {
    "invalid_image": "it is no image",
    "invalid_image_format": "its format is not supported",
    "invalid_base64_image": "its base64 is broken",
    "invalid_image_url": "its URL is no URL that upstream can read",
    "image_too_large": "too many pixels",
    "image_too_small": "too few pixels",
    "image_parse_error": "it cannot be decoded",
    "invalid_image_mode": "its colour mode is not supported",
    "image_file_too_large": "too many bytes",
    "unsupported_image_media_type": "its media type is not supported",
    "empty_image_file": "the file is empty",
    "failed_to_download_image": "it could not be downloaded: its URL has expired or is not public",
    "image_file_not_found": "there is no such file",
}

ERRORS = ErrorTable(
    [
        Rule(None, FIX_REQUEST, "The request is malformed: `param` and the message name the field.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is missing, wrong or revoked, or its address is not allowed.", 401),
        Rule(None, FIX_ACCOUNT, "The key's project may not do this, or its country is not supported.", 403),
        Rule(None, FIX_REQUEST, "No such object or model, or this key cannot see it: check the id.", 404),
        Rule(None, RETRY_LATER, "Another change is under way: look at the object again, then decide.", 409),
        Rule(None, FIX_REQUEST, "The request is well formed and cannot be processed: see the message.", 422),
        Rule(None, RETRY_LATER, "Rate limit: back off as the rate limit headers say.", 429),
        Rule(None, RETRY_LATER, "A passing fault upstream: back off, and look whether the object was made.", 500),
        Rule(None, RETRY_LATER, "Upstream is overloaded: slow down, then come back gradually.", 503),
        Rule("insufficient_quota", FIX_ACCOUNT, "No credits left, or the month's limit is reached: see to billing."),
        Rule("credit_balance_exhausted", FIX_ACCOUNT, "No credits left: add some."),
        Rule("billing_hard_limit_reached", FIX_ACCOUNT, "The spending limit is reached: raise it."),
        Rule("invalid_api_key", FIX_ACCOUNT, "The API key is wrong or revoked: get a new one."),
        Rule("rate_limit_exceeded", RETRY_LATER, "Rate limit: back off exponentially with jitter."),
        Rule("slow_down", RETRY_LATER, "The rate of requests rose too fast: slow down, then come back gradually."),
        Rule("server_is_overloaded", RETRY_LATER, "Upstream is overloaded: try later."),
        Rule("server_error", RETRY, "A passing fault upstream: safe to send again."),
        Rule("vector_store_timeout", RETRY, "A search took too long: safe to send again."),
        Rule("invalid_prompt", FIX_REQUEST, "The prompt was refused: never send the same input again."),
        Rule("bio_policy", FIX_REQUEST, "Refused by policy: never send the same input again."),
        Rule("misalignment_policy_violation", FIX_REQUEST, "Refused by policy: never send the same input again."),
        Rule("image_content_policy_violation", FIX_REQUEST, "The image was refused: never send the same one again."),
        Rule("moderation_blocked", FIX_REQUEST, "Blocked by moderation: never send the same input again."),
        Rule("content_filter", FIX_REQUEST, "The output was cut off by the content filter: change the input."),
        Rule("max_output_tokens", FIX_REQUEST, "It ran into max_output_tokens: allow more, or ask for less."),
        Rule("max_messages", FIX_REQUEST, "It ran into its limit of messages: allow more, or ask for less."),
        Rule("data_residency_mismatch", FIX_ACCOUNT, "The project's data residency does not allow this."),
        Rule("expired", RETRY, "It was not done within its window: what is left of it is safe to send again."),
        Rule("cancelled", NEVER, "Somebody cancelled it: send again only on purpose."),
        *(Rule(code, FIX_REQUEST, _IMAGE.format(why)) for code, why in _IMAGES.items()),
        Rule(None, CONTACT, "It failed without a reason: ask upstream with its id before sending it again."),
    ]
)
