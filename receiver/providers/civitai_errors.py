"""Civitai's errors as data: HTTP answers, and the `reason` of a failed job (UPSTREAMS §1.9)."""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, NEVER, RETRY, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

ERRORS = ErrorTable(
    [
        Rule(None, FIX_REQUEST, "The body failed validation; `errors` names the fields. Fix them first.", 400),
        Rule(
            None,
            FIX_ACCOUNT,
            "Not enough Buzz of the colour this needs: top up, or lift the restriction.",
            400,
            contains=("insufficient", "buzz"),
        ),
        Rule(
            None,
            FIX_REQUEST,
            "The input image is too large: send a smaller one.",
            400,
            contains=("too large",),
        ),
        Rule(
            None,
            FIX_REQUEST,
            "The input could not be downloaded: its URL has expired or is not public.",
            400,
            contains=("failed to download",),
        ),
        Rule(None, FIX_ACCOUNT, "The token is missing, malformed or expired: get a new one.", 401),
        Rule(
            None,
            FIX_ACCOUNT,
            "The token may not do this: not enough funds, a recipe outside the tier, or mature content not permitted.",
            403,
        ),
        Rule(None, FIX_REQUEST, "No such workflow or blob, or this token cannot see it: check the id.", 404),
        Rule(None, RETRY_LATER, "The workflow has moved on meanwhile: look at it again and reconcile.", 409),
        Rule(None, RETRY_LATER, "Rate limit: back off exponentially with jitter, 30 s at most, 5 tries.", 429),
        Rule(
            None,
            RETRY_LATER,
            "A passing fault upstream: back off; an externalId keeps a retry from running twice.",
            500,
        ),
        Rule(
            None,
            RETRY_LATER,
            "The gateway gave up waiting (100 s): the workflow may exist; look before sending again.",
            524,
        ),
        Rule(
            "no_provider_available",
            RETRY_LATER,
            "No provider can run this now: relax the inputs, choose another version, or try later.",
        ),
        Rule(
            "blocked",
            FIX_REQUEST,
            "Blocked by moderation (`blockedReason` says why): never send the same input again.",
        ),
        Rule("timeout", RETRY, "Ran out of time: safe to send again, perhaps with less work in it."),
        Rule("expired", RETRY, "Ran out of time: safe to send again, perhaps with less work in it."),
        Rule(
            "canceled",
            NEVER,
            "Somebody canceled it, or a step it needed had failed: send again only on purpose.",
        ),
        Rule(None, RETRY_ONCE, "It failed without a reason: safe to send once more as it is."),
    ]
)
