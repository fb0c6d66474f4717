"""What is wrong with a configuration, as lines a person can act on. Never a secret's value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

Path = tuple[str, ...]

# Settings whose value is never shown, by the last name in the path (list positions do not count).
SECRET_NAMES = frozenset({"api_key", "hook_token", "signing_secrets", "access_key", "secret_key"})
URL_NAMES = frozenset({"url", "base_url", "public_url", "endpoint"})

_MISPLACED = frozenset({"extra_forbidden", "model_type", "dict_type", "model_attributes_type"})


class ConfigError(Exception):
    """The configuration is wrong. `str()` is one line per problem: where, which key, its value, what would be right."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


@dataclass(frozen=True, slots=True)
class Origins:
    """Where each setting came from: `places` maps a path to a file's name or an environment variable's."""

    default: str
    places: Mapping[Path, str]

    def of(self, path: Path) -> str:
        """Return the place of the setting at `path`, or of the nearest one around or inside it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        inside = (place for known, place in self.places.items() if path and known[: len(path)] == path)
        return next(inside, self.default)


def dotted(path: Path) -> str:
    """Return `path` as the file has it, `sources.civitai.silence`; a name that could not stand bare is quoted."""
    return ".".join(part if part.replace("_", "").replace("-", "").isalnum() else repr(part) for part in path)


def line(place: str, path: Path, wrong: str, value: object = None) -> str:
    """Return one line of a ConfigError; `value` is shown unless it is a secret, a table or absent."""
    return f"{place}: {dotted(path)}{_shown(path, value)}: {wrong}" if path else f"{place}: {wrong}"


def lines_of(error: ValidationError, root: type[BaseModel], origins: Origins) -> list[str]:
    """Turn pydantic's account of what is wrong into our lines, unknown names with the nearest known one."""
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        path = tuple(part for part in map(str, problem["loc"]) if part != "[key]" and not part.isdigit())
        wrong = _unknown(path, root) if problem["type"] == "extra_forbidden" else _sentence(problem)
        # What stands under a name nobody knows, or where a table belongs, may well be a secret: it is not shown.
        showable = problem["type"] not in _MISPLACED and "[key]" not in problem["loc"]
        lines.append(line(origins.of(path), path, wrong, problem.get("input") if showable else None))
    return list(dict.fromkeys(lines))


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return the sentence for a setting nobody knows, with the nearest known name, or all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"no such setting; did you mean {near[0]}?" if near else f"no such setting; known here: {', '.join(names)}"


def settings_of(model: type[BaseModel]) -> list[str]:
    """Return the names of a model's settings as they are written in the file."""
    beside = getattr(model, "FROM_FILES", {})
    return [field.alias or name for name, field in model.model_fields.items()] + list(beside)


def without_credentials(url: str) -> str:
    """Return a URL, right or wrong, as a message may show it: no user, no password, no query, no fragment.

    It is cut as text, up to the last @, because a wrong URL is one whose password may hold / or #.
    """
    scheme, mark, rest = url.partition("://")
    if "@" in url:
        rest, scheme = (rest or url).rpartition("@")[2], scheme if mark else ""
    shown = f"{scheme}{mark}{rest}"
    return re.split(r"[?#]", shown, maxsplit=1)[0]


def _unknown(path: Path, root: type[BaseModel]) -> str:
    model: Any = root
    for part in path[:-1]:
        if model is None:
            break
        model = _child(model, part)
    return unknown_name(path[-1], settings_of(model)) if model is not None else "no such setting"


def _child(model: type[BaseModel], part: str) -> type[BaseModel] | None:
    """Return the model one step down. `sources` is a table of models: its step by name leads to the same model."""
    inner = getattr(model, "TABLES", {})
    if part in inner:
        child: type[BaseModel] = inner[part]
        return child
    return model  # the name of one source, below `sources`


def _sentence(problem: Any) -> str:
    kind = problem["type"]
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    if kind == "missing":
        return "is missing; set it"
    if kind in _MISPLACED:
        return "must be a table, such as [database], [server] or [sources.civitai]"
    if kind.startswith("int_"):
        return "must be a whole number"
    if kind.startswith("bool_"):
        return "must be true or false"
    if kind == "string_type":
        return "must be a text in quotes"
    return str(problem["msg"]).replace("Input should be", "must be", 1)


def _shown(path: Path, value: object) -> str:
    if any(name in SECRET_NAMES for name in path):
        return " = (secret)" if value not in (None, "", [], ()) else ""
    if "options" in path or value is None or isinstance(value, (dict, BaseModel)):
        return ""
    if isinstance(value, str):
        cleaned = without_credentials(value) if path[-1] in URL_NAMES or "://" in value else value
        return f' = "{cleaned[:120]}"'
    if isinstance(value, bool):
        return f" = {str(value).lower()}"
    return f" = {str(value)[:120]}"
