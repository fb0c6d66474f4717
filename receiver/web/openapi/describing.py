"""The words an operation is described with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from receiver.ledger.listing import MOST, USUAL
from receiver.ledger.states import Status
from receiver.ledger.tables import ATTENTION_KINDS

JsonSchema = dict[str, Any]

# What the examples speak of; the test that runs them makes a ledger in which these are there.
SOURCE = "civitai"
WORKFLOW = "0-20260121222126332"
BLOB = "QG0CWJ9MB8Y8P7FXNPDV34RY10.jpeg"

FLAG: JsonSchema = {"type": "boolean"}
INSTANT: JsonSchema = {"type": "string", "format": "date-time"}
_ID: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 256}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a path or a query. `many` may be given several times."""

    name: str
    schema: JsonSchema
    description: str
    place: Literal["path", "query", "header"] = "query"
    example: Any = None
    many: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is not JSON: its media type, and what it is."""

    media: str
    description: str


@dataclass(frozen=True, slots=True)
class Empty:
    """An answer without a body. `headers` by name, with what they say."""

    description: str
    headers: Mapping[str, str] = field(default_factory=dict)


Answered = type[BaseModel] | Raw | Empty


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route: `scope` of the token it needs (None for none), what it takes, answers and refuses.

    `problems` are kinds of `problems.KINDS` besides those that all routes of its kind have. `cached` says that the
    answer has an ETag and that `If-None-Match` is honoured.
    """

    method: str
    path: str
    name: str
    summary: str
    tag: str
    scope: str | None
    answers: Mapping[int, Answered]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    example: Any = None
    problems: tuple[str, ...] = ()
    cached: bool = False
    description: str = ""


def at(name: str, description: str, example: str) -> Parameter:
    """Return a parameter of a path."""
    return Parameter(name, _ID, description, "path", example)


SOURCE_IN_PATH = at("source", "The source's name, as configured.", SOURCE)
WORKFLOW_IN_PATH = at("id", "Upstream's id of the workflow.", WORKFLOW)
BLOB_IN_PATH = at("id", "The blob's id: upstream's, else `<workflow>~<slot>`.", BLOB)
ATTENTION_IN_PATH = at("ref", "Its `ref`, as the list has it.", "019be2a7f1c30123456789abcdef0124")
DELIVERY_IN_PATH = at("id", "The delivery's id.", "019be2a7f1c30123456789abcdef0123")

LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}, "How many items.")
CURSOR = Parameter("cursor", {"type": "string"}, "A `next_cursor`, as it came.")
BY_SOURCE = Parameter("source", _ID, "Only this source's.", example=SOURCE)
SINCE = Parameter("since", INSTANT, "Not before this instant.", example="2026-01-01T00:00:00Z")
UNTIL = Parameter("until", INSTANT, "Before this instant.", example="2126-01-01T00:00:00Z")
STATUS = Parameter(
    "status", {"type": "string", "enum": [str(status) for status in Status]}, "One of these.", many=True,
    example=["failed", "succeeded"],
)  # fmt: skip
WAIT = Parameter(
    "wait", {"type": "number", "minimum": 0, "maximum": 60}, "Have upstream asked, and wait this many seconds.",
    example=0,
)  # fmt: skip
ATTENTION = Parameter(
    "attention",
    {"type": "string", "enum": ["any", "true", "1", *ATTENTION_KINDS]},
    "With something for a person to look at: any, or of one kind.",
)
STEP_TYPE = Parameter("step_type", _ID, "With a step of this type.")
Q = Parameter("q", _ID, "With this id or `ref`, of the workflow, a job or a blob, or one that begins so.", example="0-")
CONTEXT = Parameter(
    "context", {"type": "string", "pattern": "^[^=]+="},
    "With this label and value; with all of them, where several are given. The same as `context.team=red`.", many=True,
    example=["team=red"],
)  # fmt: skip
