"""The dashboard's words for what the ledger knows: statuses, reasons to look, ways of learning. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from receiver.ledger.query_parts import JsonObject
from receiver.ledger.states import Status
from receiver.ledger.tables import ATTENTION_KINDS

STATUSES = tuple(str(status) for status in Status)
KINDS = ATTENTION_KINDS


@dataclass(frozen=True, slots=True)
class Cause:
    """One kind of attention: what it is called, what it means, and what a person should do about it."""

    title: str
    meaning: str
    todo: str


# In the order in which they matter: what stops everything first.
CAUSES: dict[str, Cause] = {
    "credentials": Cause(
        "Upstream refuses our key",
        "The source is paused: nothing is asked of it until the key is taken again. Deliveries still count.",
        "Put a working key into api_key (or api_key_file) and restart; one probe every 30 s finds out by itself.",
    ),
    "contradicted": Cause(
        "Believed news disputes an ending",
        "The ending stays: what is confirmed is final. The dispute is kept with its evidence.",
        "Compare the two pieces of evidence. If the ending is wrong, replay is the one door that may change it.",
    ),
    "unreadable": Cause(
        "Upstream said something we cannot read",
        "It was believed and kept byte for byte, but its shape is not known to this version.",
        "Look at the evidence. After an update of hookledger, replay applies it.",
    ),
    "refused": Cause(
        "Upstream refuses the question",
        "It answers 400, 403 or 422 about this workflow; it is asked once a day.",
        "Check that the workflow belongs to this account and that its locator is right, then ask again.",
    ),
    "gone": Cause(
        "Upstream no longer knows it",
        "Three looks in a row were answered 404. The status stays what it was.",
        "Look for its output in upstream's account, or submit it again. Acknowledge it when you have.",
    ),
    "unreachable": Cause(
        "Upstream cannot be asked",
        "Five tries in a row failed. Looks go on at the usual pace, and this closes with the first that succeeds.",
        "See whether upstream has an outage, and whether this machine reaches it (hookledger doctor).",
    ),
    "overdue": Cause(
        "Running past its deadline",
        "It has not ended within its source's deadline. Nothing was decided: silence is no verdict.",
        "Ask upstream now. If it is only slow, raise the source's deadline; else cancel it upstream.",
    ),
    "uncollected": Cause(
        "Outputs that nobody keeps but upstream",
        "They are kept upstream alone, and will be deleted there before long.",
        "Fetch them now, or set collect = true (then the note says why). If your programs do: warn_deletion = false.",
    ),
}

_VIA = {
    "delivery": "callback", "fetch": "asked upstream", "look": "asked upstream", "decision": "concluded",
    "track": "tracked", "webhook": "callback", "list": "found in a list", "backfill": "found in a list",
}  # fmt: skip
_HOW = {
    "applied": "", "corrected": "corrected", "inferred": "inferred", "retracted": "taken back",
    "contradiction": "disputed, not applied",
}  # fmt: skip
_DRAWN = {"before": "not heard of, not to scale", "contradiction": "disputed, not applied", "retracted": "taken back"}
_DECIDED = {
    "track": "tracked", "acknowledged": "seen to", "replayed": "replayed", "inferred": "inferred", "gone": "given up",
}  # fmt: skip
_TRUST = {"signed": "signed", "token": "with the URL's token", "hint": "proves nothing", "none": "takes no deliveries"}
_PAUSED = {"credentials": "paused: upstream refuses the key"}
_DISPOSITION = {
    "retry": "Safe to send again", "retry_later": "Send again later", "retry_once": "Send once more",
    "fix_request": "Change the request first", "fix_account": "Fix the account first", "never": "Do not send again",
    "contact": "Ask upstream's support",
}  # fmt: skip

_DEEDS = {
    "track": "tracked it", "refetch": "had upstream asked", "acknowledge": "has seen to it", "replay": "replayed it",
    "correct": "corrected the ledger", "share": "shared it", "forget": "had it forgotten", "log in": "logged in",
    "log out": "logged out", "save link": "saved a link", "remove link": "removed a link",
    "create token": "made a token", "revoke token": "revoked a token",
}  # fmt: skip


def cause(kind: str) -> Cause:
    """Return the words for a kind of attention."""
    return CAUSES.get(kind) or Cause(kind, "", "Look at it.")


def via(kind: str | None) -> str:
    """Return how something was learned."""
    return "—" if kind is None else _VIA.get(kind, kind)


def through(kind: str | None) -> str:
    """Return by what something was learned, within a sentence."""
    said = {"delivery": "by a callback", "look": "by asking upstream", "track": "when it was tracked"}
    return "by inference" if kind == "inferred" else said.get(kind or "", "we do not know how")


def how(kind: str) -> str:
    """Return what is special about a transition, '' for nothing."""
    return _HOW.get(kind, kind)


def trust(word: str | None) -> str:
    """Return what a source's deliveries prove."""
    return "—" if word is None else _TRUST.get(word, word)


def paused(word: str) -> str:
    """Return why a source is not asked."""
    return _PAUSED.get(word, f"paused: {word}")


def disposition(word: str) -> str:
    """Return what to do with the request of a workflow that did not succeed."""
    return _DISPOSITION.get(word, word)


def scope_name(scope: str) -> str:
    """Return what a token may do."""
    return {"read": "may look", "write": "may look and steer", "admin": "may do everything"}.get(scope, scope)


def deed(what: str) -> str:
    """Return what somebody did, as a sentence goes on after the name."""
    return _DEEDS.get(what, what)


def outcome_of(line: JsonObject) -> str:
    """Return what there is to say of something done by hand, beside what and to what: '' for nothing."""
    details = line["details"] or {}
    told = [str(details["outcome"])] if details.get("outcome") else []
    told += [f"{name}: {_plain(value)}" for name, value in sorted(details.items()) if name != "outcome" and value]
    return ", ".join(told)


def _plain(value: object) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def drawn(what: str) -> str:
    """Return what a colour or a mark of the drawing over time means."""
    return _DRAWN.get(what, what)


def told_by(evidence: JsonObject) -> str:
    """Return what a piece of evidence is: of a decision, what was decided."""
    for word in evidence.get("decision") or {}:
        if word in _DECIDED:
            return _DECIDED[word]
    return via(evidence["kind"])
