"""What to do about a workflow that did not succeed, or an error met at submit time (DESIGN §9).

A status says whether there is anything to advise on; codes, reasons and messages say what. Providers bring their
tables; what DESIGN §9 pins holds for all of them. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from receiver.config import Config
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.states import Status
from receiver.providers import PROVIDERS
from receiver.providers.advice import (
    CONTACT,
    FIX_ACCOUNT,
    FIX_REQUEST,
    NEVER,
    RETRY,
    RETRY_LATER,
    RETRY_ONCE,
    Advice,
    Disposition,
    ErrorTable,
)
from receiver.providers.standard_webhooks_errors import ERRORS as HTTP_TAXONOMY

# What DESIGN §9 decides for every upstream. A provider's own text is used where its table agrees.
PINNED: dict[str, Advice] = {
    "timeout": Advice(RETRY, "It ran out of time: safe to send again, perhaps with less work in it."),
    "expired": Advice(RETRY, "It ran out of time: safe to send again, perhaps with less work in it."),
    "request_cancelled": Advice(RETRY, "The request was cancelled or interrupted: safe to send again."),
    "generation_failed_no_content": Advice(RETRY_ONCE, "The model made nothing: once more may do, then change it."),
    "no_provider_available": Advice(RETRY_LATER, "Nobody can run this now: relax the inputs, or try later."),
    "resource_not_found": Advice(FIX_REQUEST, "No such thing upstream, or not any more: check the id."),
    "blocked": Advice(FIX_REQUEST, "Blocked by moderation: never send the same input again."),
    "canceled": Advice(NEVER, "Somebody canceled it: send again only on purpose."),
}
ABSENT = Advice(RETRY_ONCE, "It failed without a reason: safe to send once more as it is.")
VANISHED = Advice(
    RETRY_ONCE,
    "Upstream no longer knows it, so how it ended could not be confirmed: look for its output and its charge in"
    " upstream's account, then send it once more.",
)

# Of several causes the one that forbids most counts: what one provider blocked must not be sent again because another
# was merely busy.
_CAUTION: tuple[Disposition, ...] = (NEVER, FIX_REQUEST, FIX_ACCOUNT, CONTACT, RETRY_LATER, RETRY_ONCE, RETRY)
_QUOTED = 200  # characters; a longer text is not quoted at all, because cutting could leave half a secret behind
_EMPTY = ErrorTable(())


def as_json(advice: Advice) -> JsonObject:
    """Return advice as DESIGN §8.2 shows it, and whether the upstream's table knows the error."""
    return {**advice.as_json(), "known": advice.known}


def table_of(config: Config, source: str) -> ErrorTable:
    """Return the error table of a source's provider; an empty one when the source is not configured any more."""
    known = config.sources.get(source)
    provider = PROVIDERS.get(known.provider) if known is not None else None
    return _EMPTY if provider is None else provider.errors


def with_advice(workflows: Iterable[JsonObject], config: Config) -> list[JsonObject]:
    """Return workflows (as `ledger.queries` gives them) with `advice` filled in, for themselves and for each step."""
    made = []
    for workflow in workflows:
        table = table_of(config, workflow["source"])
        steps = [{**step, "advice": _json(advise_step(workflow, step, table))} for step in workflow["steps"]]
        made.append({**workflow, "advice": _json(advise(workflow, table)), "steps": steps})
    return made


def look_up(table: ErrorTable, http: int | None, code: str | None, message: str | None = None) -> Advice:
    """Return what an error means: by DESIGN's pins, by the upstream's table, by a phrase of the message, by HTTP alone.

    What nothing knows is not retryable, and `known` is False. `http` None is an error told inside a 200 answer or a
    callback; all three None is a failure without a reason.
    """
    told = table.advise(http, code, message)
    pinned = ABSENT if (http, code, message) == (None, None, None) else PINNED.get(code or "")
    if pinned is not None:
        return told if told.known and told.disposition is pinned.disposition else pinned
    if told.known:
        return told
    phrased = table.advise(None, None, message or code)
    if phrased.known and phrased != table.advise(None, None):
        return phrased
    if http is not None:
        plain = HTTP_TAXONOMY.advise(http, None)
        if plain.known:
            return plain
    return Advice(CONTACT, f"{_named(http, code)}: do not send the same request again unseen", known=False)


def advise(workflow: JsonObject, table: ErrorTable) -> Advice | None:
    """Return the advice on resubmitting a workflow; None while it is alive, and when it succeeded.

    Only its status decides whether there is any; its own error, reason and blocked reason, and those of its failed
    steps and their failed jobs, decide which.
    """
    judge = _ENDINGS.get(workflow["status"])
    return None if judge is None else judge(workflow, table)


def advise_step(workflow: JsonObject, step: JsonObject, table: ErrorTable) -> Advice | None:
    """Return the advice on one step that did not succeed, None for any other. A canceled one names what caused it."""
    if step["status"] == Status.CANCELED:
        return _canceled_by(workflow, table, step) or _canceled(step, table)
    if step["status"] not in _FAILED:
        return None
    found = _most_cautious(advice for advice, _ in _causes_of_step(workflow, step, table))
    return found or _without_reason(step["status"], table)


def _failed(workflow: JsonObject, table: ErrorTable) -> Advice:
    causes = list(_causes(workflow, table))
    found = _most_cautious(advice for advice, _ in causes)
    if found is None:
        gone = workflow["reason"] == "vanished"
        return VANISHED if gone else _without_reason(workflow["status"], table)
    step = next(step for advice, step in causes if advice is found)
    if step is None or len(workflow["steps"]) < 2:
        return found
    return replace(found, text=f"Step {_quoted(step)}: {found.text}")


def _canceled_workflow(workflow: JsonObject, table: ErrorTable) -> Advice:
    return _canceled_by(workflow, table) or _canceled(workflow, table)


_FAILED = frozenset({Status.FAILED.value, Status.EXPIRED.value})
_ENDINGS: dict[str, Callable[[JsonObject, ErrorTable], Advice]] = {
    Status.FAILED.value: _failed,
    Status.EXPIRED.value: _failed,
    Status.CANCELED.value: _canceled_workflow,
}


def _canceled(node: JsonObject, table: ErrorTable) -> Advice:
    """A cancellation is somebody's will, unless upstream's own code says otherwise (`request_cancelled`, `aborted`)."""
    code = (node["error"] or {}).get("code")
    if code is not None:
        told = look_up(table, None, code)
        if told.known:
            return told
    return look_up(table, None, "canceled")


def _canceled_by(workflow: JsonObject, table: ErrorTable, step: JsonObject | None = None) -> Advice | None:
    """Name the failed siblings that a cancellation follows from: upstream cancels what depends on a failed step."""
    failed = [one for one in workflow["steps"] if one["status"] in _FAILED and one is not step]
    if not failed:
        return None
    names = ", ".join(_quoted(one["name"]) for one in failed[:3]) + (", …" if len(failed) > 3 else "")
    ended = f"step {names} had {failed[0]['status']}" if len(failed) == 1 else f"steps {names} had failed"
    why = advise_step(workflow, failed[0], table)
    because = f": {why.text}" if why is not None and len(failed) == 1 else "."
    return Advice(NEVER, f"Canceled because {ended}{because} Mend that first; by itself this is never sent again.")


def _causes(workflow: JsonObject, table: ErrorTable) -> Iterator[tuple[Advice, str | None]]:
    """Yield what each thing that failed has to say, with the step it is about."""
    own = _said_by(workflow, table)
    if own is not None:
        yield own, None
    for step in workflow["steps"]:
        if step["status"] in _FAILED:
            yield from _causes_of_step(workflow, step, table)
    known = {step["name"] for step in workflow["steps"]}
    for job in workflow["jobs"]:
        if job["step"] not in known and job["status"] in _FAILED and (told := _said_by(job, table)) is not None:
            yield told, None


def _causes_of_step(workflow: JsonObject, step: JsonObject, table: ErrorTable) -> Iterator[tuple[Advice, str]]:
    jobs = [job for job in workflow["jobs"] if job["step"] == step["name"] and job["status"] in _FAILED]
    silent = True
    for node in (step, *jobs):
        told = _said_by(node, table)
        if told is not None:
            silent = False
            yield told, step["name"]
    if silent and step["status"] == Status.EXPIRED:
        yield look_up(table, None, "expired"), step["name"]


def _said_by(node: JsonObject, table: ErrorTable) -> Advice | None:
    """Return what a workflow, step or job says of its own failure, None when it says nothing."""
    if node["blocked_reason"]:
        told = look_up(table, None, "blocked")
        return replace(told, text=f"{told.text} Upstream says: {_quoted(node['blocked_reason'])}.")
    error = node["error"] or {}
    reason = None if node["reason"] == "vanished" else node["reason"]
    codes = [code for code in (error.get("code"), reason) if code]
    found = [look_up(table, None, code, error.get("message")) for code in codes]
    if found:
        return next((advice for advice in found if advice.known), found[0])
    return look_up(table, None, None, error["message"]) if error.get("message") else None


def _without_reason(status: str, table: ErrorTable) -> Advice:
    return look_up(table, None, "expired" if status == Status.EXPIRED else None)


def _most_cautious(found: Iterable[Advice]) -> Advice | None:
    return min(found, key=lambda advice: _CAUTION.index(advice.disposition), default=None)


def _named(http: int | None, code: str | None) -> str:
    if code is not None and len(code) <= _QUOTED:
        return f"{code!r} is not in this upstream's error table"
    if http is not None and code is None:
        return f"HTTP {http} is not in this upstream's error table"
    return "what upstream says of it is not in its error table"


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= _QUOTED else "a long text (see there)"


def _json(advice: Advice | None) -> Any:
    return None if advice is None else as_json(advice)
