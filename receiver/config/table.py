"""Every setting in one table, for the README; a test holds the two together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from receiver.config.root import Config
from receiver.config.units import duration_text, size_text


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name in the file (`sources.NAME.silence`), its default as the file writes it, its meaning."""

    name: str
    default: str
    meaning: str


def settings() -> Iterator[Setting]:
    """Yield every setting there is, in the order of the file; read off the models, so that none is forgotten."""
    for section, model in _sections(Config):
        above = f"{section}.NAME" if section == "sources" else section
        beside: dict[str, list[tuple[str, str]]] = {}
        for name, (setting, meaning) in getattr(model, "FROM_FILES", {}).items():
            beside.setdefault(setting, []).append((name, meaning))
        for field_name, field in model.model_fields.items():
            if field_name in getattr(model, "TABLES", {}):
                continue
            name = field.alias or field_name
            yield Setting(f"{above}.{name}", _default_text(name, field), field.description or "")
            for file_name, meaning in beside.get(name, ()):
                yield Setting(f"{above}.{file_name}", "none", meaning)


def _sections(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the tables of the file, those inside another after it."""
    for name, inner in getattr(model, "TABLES", {}).items():
        yield f"{above}{name}", inner
        yield from _sections(inner, f"{above}{name}.")


def markdown() -> str:
    """Return the table as the README has it between its markers."""
    rows = [f"| `{setting.name}` | {setting.default} | {setting.meaning} |" for setting in settings()]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def _default_text(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default_text" in extra:
        return str(extra["default_text"])
    default: Any = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if default is None or default in ((), {}):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, timedelta):
        return f'`"{duration_text(default)}"`'
    if name in ("max_body", "largest"):
        return f'`"{size_text(default)}"`'
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"
