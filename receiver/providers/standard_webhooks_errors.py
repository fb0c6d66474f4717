"""What HTTP alone says of an error, for upstreams whose own codes we do not know (DESIGN §9, HTTP taxonomy)."""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, RETRY_LATER, ErrorTable, Rule

ERRORS = ErrorTable(
    [
        Rule(None, FIX_REQUEST, "The request is malformed: see the message.", 400),
        Rule(None, FIX_ACCOUNT, "The key is missing, wrong or expired.", 401),
        Rule(None, FIX_ACCOUNT, "Not enough credits, or billing is not set up.", 402),
        Rule(None, FIX_ACCOUNT, "The key may not do this.", 403),
        Rule(None, FIX_REQUEST, "There is no such thing, or this key cannot see it.", 404),
        Rule(None, RETRY_LATER, "The request took too long: try again later.", 408),
        Rule(None, RETRY_LATER, "It is in another state than expected: look at it again, then decide.", 409),
        Rule(None, FIX_REQUEST, "The input is too large: send less.", 413),
        Rule(None, FIX_REQUEST, "The input is of a kind that is not taken.", 415),
        Rule(None, FIX_REQUEST, "The request is well formed and cannot be processed: see the message.", 422),
        Rule(None, RETRY_LATER, "Rate limit: back off as Retry-After says.", 429),
        Rule(None, RETRY_LATER, "A passing fault upstream: look whether the work exists before sending it again.", 500),
    ]
)
