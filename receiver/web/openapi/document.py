"""The OpenAPI 3.1 document, made of the table of operations and the models that answers are held to."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from receiver import __version__
from receiver.web.openapi.answers import Happening, Problem, Told
from receiver.web.openapi.describing import Empty, Operation, Parameter, Raw
from receiver.web.openapi.operations import OPERATIONS
from receiver.web.problems import KINDS

JsonObject = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ABOUT = """
Where is my job, what needs a person, and can this be trusted? Everything but deliveries and health needs
`Authorization: Bearer <token>`; `hookledger token create` makes one, with the scope `read`, `write` or `admin`.
Errors are `application/problem+json` (RFC 9457). Times are RFC 3339 in UTC. Absent is null, never missing.
Lists answer `items` and `next_cursor`, which is passed on as `cursor` for the next page and is null on the last.
"""
_TAGS = {
    "workflows": "Workflows, their steps and jobs, and what is done about them.",
    "files": "Output files.",
    "deliveries": "What upstreams send, and what was received.",
    "figures": "How it all is going.",
    "running": "For whoever runs this.",
}
_PLAIN: JsonObject = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {"type": {"const": "about:blank"}},
}
# What `/hooks` refuses with (DESIGN §8.1).
_REFUSALS = {
    401: "The proof is missing or wrong.",
    404: "There is no such source, or it takes no deliveries.",
    408: "The body did not arrive in time.",
    413: "The body is larger than this receiver takes.",
    429: "The source has sent too many hints.",
    503: "It could not be kept and must come again.",
}


@cache
def document() -> JsonObject:
    """Return the whole document. Made once: it depends on nothing but the code."""
    paths: JsonObject = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hookledger",
            "version": __version__,
            "summary": "The one place that knows the truth about your generative-media workflows.",
            "description": _ABOUT.strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _security()},
    }


def _security() -> JsonObject:
    text = "Made by `hookledger token create NAME --scope read`; `write` may do what `read` may, `admin` everything."
    return {"token": {"type": "http", "scheme": "bearer", "description": text}}


def _models() -> Iterable[type[BaseModel]]:
    for operation in OPERATIONS:
        if operation.body is not None:
            yield operation.body
        for answered in operation.answers.values():
            if isinstance(answered, type):
                yield answered
    yield from (Problem, Happening)


def _mode(model: type[BaseModel]) -> Any:
    return "validation" if issubclass(model, Told) else "serialization"


def _schemas() -> JsonObject:
    wanted = sorted({(model, _mode(model)) for model in _models()}, key=lambda one: one[0].__name__)
    _, made = models_json_schema(wanted, ref_template=_REF)
    return dict(made["$defs"])


def _operation(operation: Operation) -> JsonObject:
    found: JsonObject = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation),
        "security": [{"token": [operation.scope]}] if operation.scope else [],
    }
    if operation.description:
        found["description"] = operation.description
    parameters = [_parameter(one) for one in operation.parameters]
    if operation.cached:
        tag = Parameter("if-none-match", {"type": "string"}, "An ETag: 304 while the answer is the same.", "header")
        parameters.append(_parameter(tag))
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        content = {"schema": {"$ref": _REF.format(model=operation.body.__name__)}, "example": operation.example}
        found["requestBody"] = {"required": True, "content": {"application/json": content}}
    elif operation.path == "/hooks/{source}":
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return found


def _parameter(one: Parameter) -> JsonObject:
    schema = {"type": "array", "items": one.schema} if one.many else one.schema
    found: JsonObject = {
        "name": one.name,
        "in": one.place,
        "description": one.description,
        "required": one.place == "path",
        "schema": schema,
    }
    if one.example is not None:
        found["example"] = one.example
    return found


def _responses(operation: Operation) -> JsonObject:
    found = {str(status): _answer(operation, told) for status, told in operation.answers.items()}
    if operation.cached:
        found["304"] = {"description": "The answer is that of the given ETag."}
    if operation.path == "/hooks/{source}":
        problem = {"application/problem+json": {"schema": _PLAIN}}
        return found | {str(n): {"description": text, "content": problem} for n, text in _REFUSALS.items()}
    for status, kinds in sorted(_problems(operation).items()):
        if str(status) not in found:
            found[str(status)] = _refusal(kinds)
    return found


def _answer(operation: Operation, told: Any) -> JsonObject:
    if isinstance(told, Empty):
        headers = {
            name: {"description": text, "schema": {"type": "string"}, "required": True}
            for name, text in told.headers.items()
        }
        return {"description": told.description, "headers": headers}
    if isinstance(told, Raw):
        found: JsonObject = {"description": told.description, "content": {told.media: {"schema": {}}}}
    else:
        text = (told.__doc__ or "").strip()
        schema = {"$ref": _REF.format(model=told.__name__)}
        found = {"description": text, "content": {"application/json": {"schema": schema}}}
    if operation.cached:
        found["headers"] = {"etag": {"description": "What `If-None-Match` takes.", "schema": {"type": "string"}}}
    return found


def _problems(operation: Operation) -> dict[int, list[str]]:
    """Return the kinds of problems an operation may answer with, by status."""
    kinds = list(operation.problems)
    if operation.scope is not None:
        kinds += ["bad-filter", "no-token", "wrong-token", "database"]
        kinds += ["scope"] if operation.scope != "read" else []
    if operation.body is not None:
        kinds += ["bad-request", "timeout", "too-large"]
    found: dict[int, list[str]] = {}
    for kind in kinds:
        found.setdefault(KINDS[kind][0], []).append(kind)
    return found


def _refusal(kinds: list[str]) -> JsonObject:
    names = [f"/problems/{kind}" for kind in sorted(kinds)]
    schema = {"allOf": [{"$ref": _REF.format(model="Problem")}], "properties": {"type": {"enum": names}}}
    text = "; ".join(f"`{kind}`: {KINDS[kind][1].lower()}" for kind in sorted(kinds))
    return {"description": f"{text}.", "content": {"application/problem+json": {"schema": schema}}}
