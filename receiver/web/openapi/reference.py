"""The document as a page to read: rendered here, with no script and nothing from elsewhere."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from receiver.web.openapi.document import JsonObject, document

_HERE = Path(__file__).parent


@cache
def page() -> tuple[bytes, str]:
    """Return the page, and the content security policy it goes by."""
    templates = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["prose"] = _prose
    style = (_HERE / "reference.css").read_text(encoding="utf-8")
    told = document()
    text = templates.get_template("reference.html").render(
        document=told, style=style, operations=list(_operations(told)), models=list(_models(told))
    )
    # The style as it stands in the page: escaping changes nothing in it, which a test holds it to.
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text.encode(), policy


def _prose(text: str) -> Markup:
    """Return a text as it is read: what stands between backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one of them is left alone, and means itself
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(one) if n % 2 else one for n, one in enumerate(parts))


def _operations(told: JsonObject) -> Iterator[JsonObject]:
    for path, methods in told["paths"].items():
        for method, one in methods.items():
            body = one.get("requestBody", {}).get("content", {}).get("application/json", {})
            scopes = [scope for need in one["security"] for scope in need["token"]]
            yield {
                "id": one["operationId"],
                "method": method.upper(),
                "path": path,
                "tag": one["tags"][0],
                "summary": one["summary"],
                "description": one.get("description", ""),
                "scope": scopes[0] if scopes else None,
                "parameters": [_parameter(parameter) for parameter in one.get("parameters", ())],
                "body": _named(body.get("schema", {})),
                "example": json.dumps(body.get("example"), indent=2, ensure_ascii=False),
                "responses": [_response(status, answer) for status, answer in sorted(one["responses"].items())],
            }


def _parameter(one: JsonObject) -> JsonObject:
    return {
        "name": one["name"],
        "place": one["in"],
        "required": one["required"],
        "kind": _kind(one["schema"]),
        "description": one["description"],
    }


def _response(status: str, answer: JsonObject) -> JsonObject:
    contents: JsonObject = answer.get("content", {})
    media = next(iter(contents), "")
    model = _named(contents[media].get("schema", {})) if media else None
    return {"status": status, "media": media or "no body", "model": model, "description": answer["description"]}


def _models(told: JsonObject) -> Iterator[JsonObject]:
    for name, schema in sorted(told["components"]["schemas"].items()):
        fields = [
            {"name": field, "kind": _kind(one), "description": one.get("description", "")}
            for field, one in schema.get("properties", {}).items()
        ]
        yield {"name": name, "description": schema.get("description", ""), "fields": fields, "kind": _kind(schema)}


def _named(schema: JsonObject) -> str | None:
    reference: str | None = schema.get("$ref")
    return reference.rpartition("/")[2] if reference else None


def _kind(schema: JsonObject) -> str:
    """Return what a schema allows, in a few words."""
    if name := _named(schema):
        return name
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(one) for one in schema[several])
    if "allOf" in schema:
        return _kind(schema["allOf"][0])
    if "enum" in schema:
        return ", ".join(_word(value) for value in schema["enum"])
    if "const" in schema:
        return _word(schema["const"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    told = schema.get("format", kind) + _range(schema, "minimum", "maximum", "")
    told += _range(schema, "minLength", "maxLength", " characters")
    return f"{told}, {_word(schema['default'])} by default" if "default" in schema else told


def _range(schema: JsonObject, least: str, most: str, unit: str) -> str:
    """Return what lies between two limits of which either may be missing, with a space before it."""
    match schema.get(least), schema.get(most):
        case None, None:
            return ""
        case low, None:
            return ", not empty" if unit and low == 1 else f" from {low}{unit}"
        case None, high:
            return f" up to {high}{unit}"
        case low, high:
            return f" of {low} to {high}{unit}" if unit else f" from {low} to {high}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
