"""What an upstream's error means and what to do about *submitting* again (DESIGN §9). Data per provider, one reader.

Advice never decides a status: a status word alone does that (R1). It answers the person, or the program, that wonders
whether the same request may be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Disposition(StrEnum):
    """What to do with the request that failed."""

    RETRY = "retry"  # the same request is safe
    RETRY_LATER = "retry_later"  # recovers by itself: back off
    RETRY_ONCE = "retry_once"
    FIX_REQUEST = "fix_request"  # never the same input again
    FIX_ACCOUNT = "fix_account"  # credits, keys, permissions
    NEVER = "never"
    CONTACT = "contact"  # the upstream's support


# So that a table reads as a table.
RETRY = Disposition.RETRY
RETRY_LATER = Disposition.RETRY_LATER
RETRY_ONCE = Disposition.RETRY_ONCE
FIX_REQUEST = Disposition.FIX_REQUEST
FIX_ACCOUNT = Disposition.FIX_ACCOUNT
NEVER = Disposition.NEVER
CONTACT = Disposition.CONTACT


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of an upstream's error table.

    `http` None is an error told inside a 200 answer or a callback; `code` None is any error of that HTTP status.
    `contains` narrows a code to messages that hold one of these phrases (compared without case): a sub-type.
    """

    code: str | None
    disposition: Disposition
    text: str
    http: int | None = None
    contains: tuple[str, ...] = ()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and why, in plain words. `known` is False when no table has the code: then it is not retryable."""

    disposition: Disposition
    text: str
    retry_after: float | None = None
    known: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the `advice` of DESIGN §8.2."""
        return {"disposition": self.disposition.value, "retry_after": self.retry_after, "text": self.text}


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as an upstream's answer or document tells it. `fields` maps a path of the request to its messages."""

    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    fields: dict[str, list[str]] = field(default_factory=dict)


class ErrorTable:
    """An upstream's rules, looked up by (HTTP status or None, code), then by message; every key stands once."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._by_key: dict[tuple[int | None, str | None], list[Rule]] = {}
        for rule in self.rules:
            self._by_key.setdefault((rule.http, rule.code), []).append(rule)
        for key, found in self._by_key.items():
            if sum(not rule.contains for rule in found) > 1:
                raise ValueError(f"the error table has {key} twice")

    def advise(self, http: int | None, code: str | None, message: str | None = None) -> Advice:
        """Return the advice for an error: by status and code, by code alone, by status alone, in that order.

        An unknown code is not retryable, and is shown as such (DESIGN §9).
        """
        keys: list[tuple[int | None, str | None]] = [(http, code), (None, code), (http, None)]
        if http is not None and http >= 500:
            keys.append((500, None))  # any other 5xx means what 500 does
        for key in keys:
            if key == (None, None) and (http is not None or code is not None):
                continue  # the rule for no reason at all
            rule = self._pick(key, message)
            if rule is not None:
                return Advice(rule.disposition, rule.text, rule.retry_after)
        what = f"code {code!r}" if code is not None else f"HTTP {http}"
        text = f"{what} is not in this upstream's error table: do not send the same request again unseen"
        return Advice(Disposition.CONTACT, text, known=False)

    def _pick(self, key: tuple[int | None, str | None], message: str | None) -> Rule | None:
        rules = self._by_key.get(key, [])
        said = (message or "").casefold()
        for rule in rules:
            if any(phrase.casefold() in said for phrase in rule.contains):
                return rule
        return next((rule for rule in rules if not rule.contains), None)
