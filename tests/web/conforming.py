"""Holds an answer to what the document says of its route: status, media type, and the model of its body."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel

from receiver.web.openapi.answers import Problem
from receiver.web.openapi.describing import Empty, Operation, Raw
from receiver.web.openapi.document import document
from receiver.web.openapi.operations import OPERATIONS
from tests.web.client import Answer

_PATTERNS = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", one.path)), one) for one in OPERATIONS]


def operation_of(method: str, url: str) -> Operation | None:
    """The documented operation a request is for; None for what is not documented."""
    path = urlsplit(url).path
    return next((one for pattern, one in _PATTERNS if one.method == method and pattern.fullmatch(path)), None)


def assert_conforms(method: str, url: str, answer: Answer) -> None:
    """Fail when an answer is none that the document tells of. Routes of the dashboard are not its business."""
    operation = operation_of(method, url)
    if operation is None or operation.path.startswith("/hooks"):
        return
    told = document()["paths"][operation.path][method.lower()]["responses"]
    assert str(answer.status) in told, f"{method} {operation.path} may not answer {answer.status}: {answer.body!r}"
    media = answer.headers.get("content-type", "").partition(";")[0]
    wanted = operation.answers.get(answer.status)
    if answer.status == 304 or isinstance(wanted, Empty):
        assert answer.body == b""
    elif isinstance(wanted, Raw):
        assert media == wanted.media
    elif wanted is not None:
        assert media == "application/json"
        wanted.model_validate_json(answer.body)
    else:
        assert media == "application/problem+json"
        problem = Problem.model_validate_json(answer.body)
        kinds = told[str(answer.status)]["content"][media]["schema"]["properties"]["type"]["enum"]
        assert problem.type in kinds, f"{method} {operation.path} may not answer {problem.type}"
        assert problem.status == answer.status


def models() -> set[type[BaseModel]]:
    """Every model an answer is held to."""
    return {one for operation in OPERATIONS for one in operation.answers.values() if isinstance(one, type)}
