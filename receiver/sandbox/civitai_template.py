"""Reading what a client submits, with Civitai's validation (UPSTREAMS §1.2.1, §1.5): all problems at once, by path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from receiver.sandbox.civitai_plan import ENDED, PACE

LEVELS = ("workflow", "step", "job")
FILTER_WORDS = ("*", "unassigned", "processing", "succeeded", "failed", "expired", "canceled")
FILTERS = frozenset(f"{level}:{word}" for level in LEVELS for word in FILTER_WORDS)
CALLBACK_KEYS = frozenset({"url", "type", "detailed"})
EXTERNAL_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
TIME_SPAN = re.compile(r"(?:(\d{1,4})\.)?(\d{1,2}):([0-5]\d):([0-5]\d)(?:\.\d{1,7})?")
NSFW_LEVELS = ("pg", "pg13", "r", "x", "xxx", "na")

Errors = dict[str, list[str]]


class Invalid(Exception):
    """The body failed validation; `errors` maps a path to its messages."""

    def __init__(self, errors: Errors) -> None:
        super().__init__("One or more validation errors occurred.")
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Callback:
    """One registered callback."""

    url: str
    types: tuple[str, ...]
    detailed: bool

    def wants(self, level: str, status: str) -> bool:
        """`level:*` or exactly `level:status`; statuses without a filter word of their own come with `*` only."""
        return f"{level}:*" in self.types or f"{level}:{status}" in self.types

    def as_json(self) -> dict[str, Any]:
        """As GetWorkflow echoes it."""
        return {"url": self.url, "type": list(self.types), "detailed": self.detailed}


@dataclass(frozen=True, slots=True)
class StepTemplate:
    """One step as asked for. `after` names the steps its input refers to with `{"$ref": name}`."""

    type: str
    name: str
    input: dict[str, Any]
    priority: str
    timeout: float | None
    timeout_text: str | None
    metadata: dict[str, Any]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A whole valid submit body; `body` is what was sent."""

    steps: tuple[StepTemplate, ...]
    callbacks: tuple[Callback, ...]
    ephemeral: bool
    external_id: str | None
    body: dict[str, Any]


def read_template(body: object, *, wait: float, allow_http: bool) -> Template:
    """The template, or Invalid with every problem found."""
    if not isinstance(body, dict):
        raise Invalid({"$": ["The body must be a JSON object."]})
    errors: Errors = {}
    callbacks = _callbacks(body.get("callbacks"), allow_http, errors)
    steps = _steps(body.get("steps"), errors)
    _plain_fields(body, errors)
    ephemeral = body.get("ephemeral") is True
    if ephemeral and not callbacks and wait <= 0 and "callbacks" not in errors:
        errors["ephemeral"] = ["An ephemeral workflow needs a callback or a wait greater than 0."]
    if errors:
        raise Invalid(errors)
    return Template(tuple(steps), tuple(callbacks), ephemeral, body.get("externalId"), body)


def _plain_fields(body: dict[str, Any], errors: Errors) -> None:
    external_id = body.get("externalId")
    if external_id is not None and not (isinstance(external_id, str) and EXTERNAL_ID.fullmatch(external_id)):
        errors["externalId"] = ["The field externalId must match ^[A-Za-z0-9_-]+$ and have 1 to 128 characters."]
    tags = body.get("tags")
    if tags is not None and problem_with_tags(tags):
        errors["tags"] = [problem_with_tags(tags) or ""]
    for name in ("metadata", "arguments"):
        if body.get(name) is not None and not isinstance(body[name], dict):
            errors[name] = [f"The field {name} must be an object."]
    for name in ("ephemeral", "allowMatureContent", "experimental"):
        if body.get(name) is not None and not isinstance(body[name], bool):
            errors[name] = [f"The field {name} must be a boolean."]
    if body.get("nsfwLevel") is not None and body["nsfwLevel"] not in NSFW_LEVELS:
        errors["nsfwLevel"] = [f"The value '{body['nsfwLevel']}' is not valid for nsfwLevel."]


def problem_with_tags(tags: object) -> str | None:
    """What is wrong with a list of tags, or None."""
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return "The field tags must be an array of strings."
    if len(tags) > 10 or len(set(tags)) != len(tags):
        return "The field tags takes up to 10 different tags."
    if any(len(tag) > 200 for tag in tags):
        return "A tag has up to 200 characters."
    return None


def _callbacks(given: object, allow_http: bool, errors: Errors) -> list[Callback]:
    if given is None:
        return []
    if not isinstance(given, list):
        errors["callbacks"] = ["The field callbacks must be an array."]
        return []
    found: list[Callback] = []
    for number, item in enumerate(given):
        path = f"callbacks[{number}]"
        if not isinstance(item, dict):
            errors[path] = ["A callback must be an object."]
            continue
        for name in sorted(set(item) - CALLBACK_KEYS):
            errors[f"{path}.{name}"] = [f"The property '{name}' is not allowed."]
        problem = _url_problem(item.get("url"), allow_http)
        if problem:
            errors[f"{path}.url"] = [problem]
        types = item.get("type")
        if not isinstance(types, list) or not types:
            errors[f"{path}.type"] = ["The type field is required: an array of event filters."]
        elif wrong := [word for word in types if not isinstance(word, str) or word not in FILTERS]:
            errors[f"{path}.type"] = [f"The value '{word}' is not valid for type." for word in wrong]
        detailed = item.get("detailed")
        if detailed is not None and not isinstance(detailed, bool):
            errors[f"{path}.detailed"] = ["The field detailed must be a boolean."]
        if not any(key.startswith(path) for key in errors):
            found.append(Callback(item["url"], tuple(item["type"]), bool(detailed)))
    return found


def _url_problem(url: object, allow_http: bool) -> str | None:
    if not isinstance(url, str):
        return "The url field is required."
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        return "The url field is not a valid fully-qualified http or https URL."
    if parts.scheme == "http" and not allow_http:
        return "Callbacks are posted to HTTPS URLs only."
    return None


def _steps(given: object, errors: Errors) -> list[StepTemplate]:
    if not isinstance(given, list) or not given:
        errors["steps"] = ["The field steps must be an array with a minimum length of 1."]
        return []
    found: list[StepTemplate] = []
    names: set[str] = set()
    for number, item in enumerate(given):
        step = _step(number, item, names, errors)
        names.add(item["name"] if isinstance(item, dict) and isinstance(item.get("name"), str) else f"${number}")
        if step:
            found.append(step)
    return found


def _step(number: int, item: object, earlier: set[str], errors: Errors) -> StepTemplate | None:
    path = f"steps[{number}]"
    if not isinstance(item, dict):
        errors[path] = ["A step must be an object."]
        return None
    if not isinstance(item.get("$type"), str) or item["$type"] not in PACE:
        known = ", ".join(PACE)
        errors[f"{path}.$type"] = [f"The value '{item.get('$type')}' is not valid for $type; known are {known}."]
    name = item.get("name") or f"${number}"
    if not isinstance(name, str) or not re.fullmatch(r"[^/\s]{1,128}", name) or name in earlier:
        errors[f"{path}.name"] = ["A step's name must be text of its own, without spaces or slashes."]
    if not isinstance(item.get("input"), dict):
        errors[f"{path}.input"] = ["The input field is required."]
    if item.get("priority", "normal") not in ("high", "normal", "low"):
        errors[f"{path}.priority"] = [f"The value '{item['priority']}' is not valid for priority."]
    span = item.get("timeout")
    if span is not None and not (isinstance(span, str) and TIME_SPAN.fullmatch(span)):
        errors[f"{path}.timeout"] = ["The timeout must be a time span such as 00:10:00."]
    metadata = item.get("metadata") or {}
    problem = _script_problem(metadata)
    if problem:
        errors[f"{path}.metadata"] = [problem]
    after = tuple(sorted(set(_references(item.get("input")))))
    for missing in [ref for ref in after if ref not in earlier]:
        errors[f"{path}.input"] = [f"It refers to '{missing}', which is no earlier step."]
    if any(key.startswith(path) for key in errors):
        return None
    seconds = None if span is None else _seconds(span)
    return StepTemplate(
        item["$type"], name, item["input"], item.get("priority", "normal"), seconds, span, metadata, after
    )


def _script_problem(metadata: object) -> str | None:
    """The stand-in's own addition: `metadata.sandbox` says how the step shall end."""
    if not isinstance(metadata, dict):
        return "The field metadata must be an object."
    script = metadata.get("sandbox", {})
    if not isinstance(script, dict):
        return "metadata.sandbox must be an object."
    if script.get("end", "failed") not in ENDED:
        return f"metadata.sandbox.end must be one of {', '.join(ENDED)}."
    for name, kinds in (("failing", int), ("racing", int), ("seconds", int | float)):
        if name in script and not (isinstance(script[name], kinds) and 0 <= script[name] <= 1e6):
            return f"metadata.sandbox.{name} must be a number, 0 or more."
    return None


def _seconds(span: str) -> float:
    match = TIME_SPAN.fullmatch(span)
    assert match is not None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _references(value: object) -> list[str]:
    found: list[str] = []
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                found.append(part["$ref"])
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
    return found
