"""Runway's errors as data (UPSTREAMS §5.7; docs.dev.runwayml.com: errors/errors, errors/task-failures).

A failure's code has parts, `SAFETY.INPUT.TEXT`; what is not in the table by itself is looked up without its last part.
"""

from __future__ import annotations

from receiver.providers.advice import (
    FIX_ACCOUNT,
    FIX_REQUEST,
    NEVER,
    RETRY_LATER,
    RETRY_ONCE,
    Advice,
    ErrorTable,
    Rule,
)

_PARTS = 8


class _Dotted(ErrorTable):
    def advise(self, http: int | None, code: str | None, message: str | None = None) -> Advice:
        """Return the advice for a code, else for what stands before its last dot, and so on."""
        first = super().advise(http, code, message)
        found, shorter = first, code
        for _ in range(_PARTS):
            if found.known or shorter is None or "." not in shorter:
                break
            shorter = shorter.rpartition(".")[0]
            found = super().advise(http, shorter, message)
        return found if found.known else first


ERRORS: ErrorTable = _Dotted(
    [
        Rule("SAFETY", FIX_REQUEST, "Refused by content moderation: never send the same input again."),
        Rule("INPUT_PREPROCESSING.SAFETY", FIX_REQUEST, "Refused by content moderation: never send it again."),
        Rule("INPUT_PREPROCESSING.INTERNAL", RETRY_LATER, "A fault upstream while reading the input: send again."),
        Rule("INPUT_PREPROCESSING", FIX_REQUEST, "The input could not be read: see the message."),
        Rule("ASSET.INVALID", FIX_REQUEST, "A file of the input is of the wrong kind, size or length."),
        Rule(
            "INTERNAL.BAD_OUTPUT",
            RETRY_ONCE,
            "The output was not good enough: once more, then another prompt or image.",
        ),
        Rule("INTERNAL", RETRY_LATER, "A fault upstream: send again in a while."),
        Rule("THIRD_PARTY", RETRY_LATER, "A service that Runway stands on failed: send again in a while."),
        Rule("CANCELLED", NEVER, "Somebody canceled it: send again only on purpose."),
        Rule(None, FIX_REQUEST, "An input is wrong: see the message.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is not valid: make a new one.", 401),
        Rule(None, FIX_ACCOUNT, "The account has no credits left: see to that first.", 402),
        Rule(None, FIX_ACCOUNT, "The key may not do this.", 403),
        Rule(None, FIX_REQUEST, "No such task, or it was deleted.", 404),
        Rule(None, FIX_REQUEST, "The address does not know this method.", 405),
        Rule(None, RETRY_LATER, "Too many requests, or a limit of the account's tier: back off.", 429),
        Rule(None, RETRY_LATER, "Runway is overloaded: send again in a while.", 500),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
