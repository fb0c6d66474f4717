"""Kling's errors as data (UPSTREAMS §5.6; Kling API reference, "General Information": service codes)."""

from __future__ import annotations

from receiver.providers.advice import FIX_ACCOUNT, FIX_REQUEST, RETRY_LATER, RETRY_ONCE, ErrorTable, Rule

_KEYS = "The access key or the secret key is wrong, or the clock of this machine is: check both."

ERRORS = ErrorTable(
    [
        *(Rule(code, FIX_ACCOUNT, _KEYS) for code in ("1000", "1001", "1002", "1003", "1004")),
        Rule("1100", FIX_ACCOUNT, "Something is wrong with the account: look at its settings."),
        Rule("1101", FIX_ACCOUNT, "The account is in arrears: see to that first."),
        Rule("1102", FIX_ACCOUNT, "The resource pack is used up or has expired: buy another."),
        Rule("1103", FIX_ACCOUNT, "The account may not use this model or interface."),
        Rule("1200", FIX_REQUEST, "The request is malformed: see the message."),
        Rule("1201", FIX_REQUEST, "A parameter or its value is wrong: see the message."),
        Rule("1202", FIX_REQUEST, "There is no such method: look at the interface's address."),
        Rule("1203", FIX_REQUEST, "There is no such resource, for example no such model or task."),
        Rule("1300", FIX_REQUEST, "Refused by a rule of the platform: see the message."),
        Rule("1301", FIX_REQUEST, "Refused by content security: never send the same input again."),
        Rule("1302", RETRY_LATER, "Too many requests: back off."),
        Rule("1303", RETRY_LATER, "More tasks at once than the account may have: wait for some to end."),
        Rule("1304", FIX_ACCOUNT, "This machine's address is not on the account's list: ask Kling's support."),
        Rule("5000", RETRY_LATER, "A fault upstream: send again in a while."),
        Rule("5001", RETRY_LATER, "Upstream is down, usually for maintenance: send again in a while."),
        Rule("5002", RETRY_LATER, "Upstream took too long, usually because of a backlog: send again in a while."),
        Rule(None, FIX_REQUEST, "The request is malformed: see the message.", 400),
        Rule(None, FIX_ACCOUNT, _KEYS, 401),
        Rule(None, FIX_ACCOUNT, "The account has nothing left to pay with: see to that first.", 402),
        Rule(None, FIX_ACCOUNT, "The account may not do this.", 403),
        Rule(None, FIX_REQUEST, "No such interface, model or task.", 404),
        Rule(None, RETRY_LATER, "Too many requests or tasks, or an account that cannot pay: see the message.", 429),
        Rule(None, RETRY_LATER, "A fault upstream: look whether a task was made before sending again.", 500),
        Rule(
            None,
            FIX_REQUEST,
            "Refused by content security: never send the same input again.",
            contains=("risk control", "content policy", "security policy", "sensitive"),
        ),
        Rule(None, RETRY_ONCE, "It failed without a reason that we know: safe to send once more as it is."),
    ]
)
