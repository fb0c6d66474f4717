"""What a source of `standard-webhooks` says of its upstream: where the fields are, what the words mean, where to ask.

[sources.acme.options]
id = "data.id"                      # where an event names the workflow; list items by number: `data.jobs.0.id`
status = "data.status"              # or "type", where the type of the event says it
urls = ["data.output"]              # every URL anywhere below counts as an output file
error_code = "data.error.code"
error_message = "data.error.message"
timestamp = "timestamp"             # the event's own time
status_url = "/v1/jobs/{id}"        # below base_url; without it upstream is never asked
key_header = "x-api-key"            # where api_key goes; without it `Authorization: Bearer`
[sources.acme.options.statuses]     # upstream's word = ours
queued = "scheduled"
"job.done" = "succeeded"
[sources.acme.options.answer]       # the same fields in the answer to status_url, where they differ
id = "id"
status = "state"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from receiver.ledger.states import Status

Path = tuple[str, ...]

_ONE = ("id", "status", "error_code", "error_message", "timestamp")
_PLACES = (*_ONE, "urls")
KNOWN = (*_PLACES, "statuses", "status_url", "key_header", "answer")
_HEADER = re.compile(r"[a-z][a-z0-9-]{0,63}")
_MOST = 200  # characters of a path
_WORDS = ", ".join(Status)


class BadOptions(ValueError):
    """The options are not what they must be; the message names the option and says what would be right."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a document has its fields; () for a field it does not have."""

    id: Path = ()
    status: Path = ()
    error_code: Path = ()
    error_message: Path = ()
    timestamp: Path = ("timestamp",)  # where Standard Webhooks recommends it
    urls: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one source, checked."""

    event: Places
    answer: Places
    statuses: Mapping[str, Status] = field(default_factory=dict)
    status_url: str | None = None
    key_header: str = "authorization"


def read_options(options: Mapping[str, Any]) -> Options:
    """Return a source's options. Raises BadOptions with a sentence that says what is wrong and what would be right."""
    for name in options:
        if name not in KNOWN:
            raise BadOptions(f"options.{name} is nothing standard-webhooks knows; it knows {', '.join(KNOWN)}")
    for name in ("id", "status", "statuses"):
        if name not in options:
            raise BadOptions(f"options.{name} is missing; {_MISSING[name]}")
    event = _places(options, "options", Places())
    answer = options.get("answer", {})
    if not isinstance(answer, Mapping):
        raise BadOptions('options.answer must be a table, such as { id = "id", status = "state" }')
    for name in answer:
        if name not in _PLACES:
            raise BadOptions(f"options.answer.{name} is nothing standard-webhooks knows; it knows {', '.join(_PLACES)}")
    return Options(
        event=event,
        answer=_places(answer, "options.answer", event),
        statuses=_statuses(options["statuses"]),
        status_url=_status_url(options.get("status_url")),
        key_header=_key_header(options.get("key_header", "authorization")),
    )


def found_at(document: Any, path: Path) -> Any:
    """Return what a document has at a path, None when there is nothing."""
    if not path:
        return None
    for name in path:
        if type(document) is dict:
            document = document.get(name)
        elif type(document) is list and name.isascii() and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


_MISSING = {
    "id": 'name the field of an event that holds the workflow\'s id, such as id = "data.id"',
    "status": 'name the field of an event that holds the status, such as status = "data.status" or status = "type"',
    "statuses": f'say what upstream\'s words mean, such as {{ done = "succeeded" }}; ours are {_WORDS}',
}


def _places(told: Mapping[str, Any], where: str, otherwise: Places) -> Places:
    found = {name: _path(told[name], f"{where}.{name}") for name in _ONE if name in told}
    places = replace(otherwise, **found)  # type: ignore[arg-type] # only names of paths are in it
    if "urls" not in told:
        return places
    urls = [told["urls"]] if isinstance(told["urls"], str) else told["urls"]
    if not isinstance(urls, list):
        raise BadOptions(f'{where}.urls must be a list of paths, such as ["data.output"]')
    return replace(places, urls=tuple(_path(each, f"{where}.urls") for each in urls))


def _path(value: Any, where: str) -> Path:
    if not isinstance(value, str) or len(value) > _MOST or not all(value.split(".")):
        raise BadOptions(f'{where} must be the path of a field, names with dots between them, such as "data.id"')
    return tuple(value.split("."))


def _statuses(value: Any) -> dict[str, Status]:
    if not isinstance(value, Mapping) or not value:
        raise BadOptions(f"options.statuses must be a table that is not empty; {_MISSING['statuses']}")
    found: dict[str, Status] = {}
    for word, meaning in value.items():
        if not isinstance(meaning, str) or meaning not in list(Status):
            raise BadOptions(f"options.statuses.{word} must be one of ours: {_WORDS}")
        found[word] = Status(meaning)
    return found


def _status_url(value: Any) -> str | None:
    if value is None:
        return None
    if (
        not isinstance(value, str)
        or not value.startswith("/")
        or "//" in value
        or value.count("{id}") != 1
        or set("{}#\\ ") & set(value.replace("{id}", ""))
        or not value.isprintable()
    ):
        raise BadOptions('options.status_url must be a path below base_url with {id} in it, such as "/v1/jobs/{id}"')
    return value


def _key_header(value: Any) -> str:
    if not isinstance(value, str) or not _HEADER.fullmatch(value.lower()):
        raise BadOptions('options.key_header must be the name of a header, such as "x-api-key"')
    return value.lower()
