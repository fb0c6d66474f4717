"""Providers do not know each other: what two of them need is a part with a name of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import receiver.providers
from receiver.providers import PROVIDERS

NAMES = {name.replace("-", "_") for name in PROVIDERS}
HOME = Path(receiver.providers.__file__).parent


def provider_of(module: str) -> str | None:
    """Which provider a module of the package belongs to; None for the parts that all share."""
    stem = module.removeprefix("receiver.providers.").partition(".")[0]
    return next((name for name in NAMES if stem == name or stem.startswith(f"{name}_")), None)


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.startswith("receiver.providers.")}


def test_no_provider_imports_another_and_no_shared_part_imports_one() -> None:
    files = [file for file in sorted(HOME.glob("*.py")) if file.stem != "__init__"]
    assert {provider_of(file.stem) for file in files} >= NAMES
    wrong = [
        (file.stem, name)
        for file in files
        for name in sorted(imported(file))
        if provider_of(name) not in (None, provider_of(file.stem))
    ]
    assert wrong == []
