"""The README's table of settings says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from receiver.config import Config
from receiver.config.table import markdown, settings

README = Path(__file__).parents[1] / "README.md"


def test_the_table_in_the_readme_is_the_one_the_code_makes() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "README.md has no table between <!-- settings --> and <!-- /settings -->"
    assert found[1].strip() == markdown(), "write it anew with: python -m receiver.config"


def test_every_setting_has_a_meaning_and_a_default() -> None:
    assert [setting.name for setting in settings() if not setting.meaning.endswith((".", "!"))] == []
    assert [setting.name for setting in settings() if not setting.default] == []


def test_every_field_of_every_section_is_in_the_table() -> None:
    names = {setting.name.replace("sources.NAME", "sources") for setting in settings()}
    for section, model in Config.TABLES.items():
        for name, field in model.model_fields.items():
            if name in getattr(model, "TABLES", {}):
                assert any(known.startswith(f"{section}.{name}.") for known in names)
                continue
            assert f"{section}.{field.alias or name}" in names


def test_the_module_prints_the_table() -> None:
    done = subprocess.run([sys.executable, "-m", "receiver.config"], capture_output=True, text=True, check=True)
    assert done.stdout == markdown() + "\n"
