"""The house rules that a machine can hold: short functions, short files, no rooms for odds and ends."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = sorted(path for folder in ("receiver", "reconciler") for path in (ROOT / folder).rglob("*.py"))
FORBIDDEN = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"}
# A migration spells a table out, column by column.
SPELLED_OUT = "migrations/versions"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file with their lengths in lines, docstrings left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            told = 0
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                told = (first.end_lineno or first.lineno) - first.lineno + 1
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1 - told


def test_no_file_is_longer_than_350_lines() -> None:
    assert [str(path) for path in CODE if len(path.read_text().splitlines()) > 350] == []


def test_no_function_is_longer_than_50_lines() -> None:
    code = [path for path in CODE if SPELLED_OUT not in str(path)]
    assert [(name, lines) for path in code for name, lines in functions(path) if lines > 50] == []


def test_no_room_is_named_for_odds_and_ends() -> None:
    assert [str(path) for path in CODE if path.stem in FORBIDDEN or path.parent.name in FORBIDDEN] == []


def test_the_top_level_holds_what_the_design_names_and_nothing_else() -> None:
    named = {"pyproject.toml", "README.md", "LICENSE", "receiver", "reconciler", "tests", "deploy"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    made = {name for name in found if name.endswith(".egg-info") or name in ("dist", "build", "demo-command")}
    assert found - made == named
