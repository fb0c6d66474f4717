"""Kie.ai's errors as data (docs.kie.ai/market/common/get-task-detail): codes of its envelope, which HTTP repeats.

A task's `failCode` and `failMsg` are those of the model behind it; only the codes Kie.ai itself uses can be told apart.
"""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

_FAILED = "The model failed: the message says why; safe to send once more as it is."

ERRORS = ErrorTable(
    [
        Rule("400", FIX_REQUEST, "The request is malformed or was refused: see the message."),
        Rule("401", FIX_ACCOUNT, "The API key is missing or wrong: make a new one."),
        Rule("402", FIX_ACCOUNT, "The account has no credits left: see to that first."),
        Rule("404", FIX_REQUEST, "No such task, model or address."),
        Rule("422", FIX_REQUEST, "The input does not fit the model: see the message."),
        Rule("429", RETRY_LATER, "Too many requests: back off."),
        Rule("455", RETRY_LATER, "The service is down for maintenance: send again later."),
        Rule("500", RETRY_LATER, "A fault upstream: send again in a few minutes."),
        Rule("501", RETRY_ONCE, _FAILED),
        Rule("505", FIX_REQUEST, "This feature is switched off: use another."),
        Rule(None, FIX_REQUEST, "The request is malformed or was refused: see the message.", 400),
        Rule(None, FIX_ACCOUNT, "The API key is missing or wrong: make a new one.", 401),
        Rule(None, FIX_ACCOUNT, "The account has no credits left: see to that first.", 402),
        Rule(None, FIX_ACCOUNT, "The key may not do this.", 403),
        Rule(None, FIX_REQUEST, "No such task, model or address.", 404),
        Rule(None, FIX_REQUEST, "The input does not fit the model: see the message.", 422),
        Rule(None, RETRY_LATER, "Too many requests: back off.", 429),
        Rule(None, RETRY_LATER, "A fault upstream: send again in a few minutes.", 500),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
