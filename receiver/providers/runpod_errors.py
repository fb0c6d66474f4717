"""RunPod's errors as data (UPSTREAMS §5.4): HTTP answers, and what a job's `error` says.

A job's error is free text of the endpoint's own code; only what RunPod itself writes can be told apart.
"""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, NEVER, RETRY, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

ERRORS = ErrorTable(
    [
        Rule("TIMED_OUT", RETRY, "No worker took it in time, or it ran into executionTimeout: safe to send again."),
        Rule("CANCELLED", NEVER, "Somebody canceled it: send again only on purpose."),
        Rule(None, FIX_REQUEST, "The request is malformed; it must be a JSON object with `input`.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is missing, wrong or revoked: make a new one in the settings.", 401),
        Rule(None, FIX_ACCOUNT, "The account's balance is used up: see to that first.", 402),
        Rule(None, FIX_ACCOUNT, "The key may not use this endpoint.", 403),
        Rule(None, FIX_REQUEST, "No such endpoint, or the job's time is over (30 minutes after its end).", 404),
        Rule(None, FIX_REQUEST, "The input is too large (10 MB for /run, 20 MB for /runsync): send a link.", 413),
        Rule(None, RETRY_LATER, "More requests in 10 s than the endpoint may have: back off.", 429),
        Rule(None, RETRY_LATER, "A passing fault upstream: look whether a job was made before sending again.", 500),
        Rule(
            None,
            FIX_REQUEST,
            "The worker ran out of memory: ask for less, or give the endpoint a larger GPU.",
            contains=("out of memory", "outofmemory"),
        ),
        Rule(None, RETRY, "It ran out of time: safe to send again.", contains=("timed out", "timeout")),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
