"""Reading what a client asked: path, query and body, each with the error upstream gives when it is wrong."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime
from typing import Any, NoReturn

from starlette.requests import Request

from receiver.sandbox.civitai_records import Step, Workflow
from receiver.sandbox.civitai_sandbox import CivitaiSandbox
from receiver.sandbox.civitai_template import Invalid


class BadQuery(Exception):
    """A query parameter that cannot be read."""

    def __init__(self, name: str, value: str) -> None:
        super().__init__(name)
        self.errors = {name: [f"The value '{value}' is not valid for {name}."]}


class NotFound(Exception):
    """Unknown, deleted, past its retention, or ephemeral and over: one answer for all of them."""


def found(sandbox: CivitaiSandbox, request: Request) -> Workflow:
    """The workflow of the path, or NotFound."""
    workflow = sandbox.world.visible(request.path_params["id"], sandbox.clock.now())
    if workflow is None:
        raise NotFound
    return workflow


def found_step(sandbox: CivitaiSandbox, request: Request) -> tuple[Workflow, Step]:
    """The step of the path, or NotFound."""
    workflow = found(sandbox, request)
    for step in workflow.steps:
        if step.name == request.path_params["name"]:
            return workflow, step
    raise NotFound


async def body_of(request: Request) -> Any:
    """The JSON body, or Invalid."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(word)

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else refuse(text)

    try:
        return json.loads(await request.body(), parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        raise Invalid({"$": ["The body is not valid JSON."]}) from None


def number_of(request: Request, name: str, default: float, low: float, high: float) -> float:
    """A number between `low` and `high`, or BadQuery."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not low <= int(text) <= high:
        raise BadQuery(name, text)
    return int(text)


def seconds_of(request: Request, name: str) -> float:
    """Whole seconds, 0 when not given."""
    return number_of(request, name, 0, 0, 86400)


def flag_of(request: Request, name: str, *, default: bool) -> bool:
    """`true` or `false` in any case, or BadQuery."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.lower() not in ("true", "false"):
        raise BadQuery(name, text)
    return text.lower() == "true"


def instant_of(request: Request, name: str) -> datetime | None:
    """An ISO instant, UTC when it names no zone, or BadQuery."""
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise BadQuery(name, text) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def cursor_of(request: Request) -> int | None:
    """The number of the last workflow of the page before, or BadQuery."""
    text = request.query_params.get("cursor")
    if not text:
        return None
    try:
        return int(base64.urlsafe_b64decode(text).decode().removeprefix("after "))
    except ValueError:
        raise BadQuery("cursor", text) from None
