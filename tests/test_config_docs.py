"""The README's table of settings says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from receiver.config import Config, load_config
from receiver.config.table import markdown, settings
from receiver.providers import PROVIDERS
from receiver.providers.standard_options import KNOWN as KNOWN_OPTIONS

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


def test_every_provider_stands_in_the_readme_with_what_its_deliveries_prove() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]*)\|", _between("providers"), re.MULTILINE)[1:]
    assert sorted(name for name, _, _ in rows) == sorted(PROVIDERS)
    for name, proves, _ in rows:
        offered = {str(trust) for trust in PROVIDERS[name].habits.trusts} & {"signed", "token"}
        assert {word for word in ("signed", "token") if re.search(rf"\b{word}\b", proves)} == offered, name
        hinted = "hint" in PROVIDERS[name].habits.trusts
        assert hinted is (name != "runway"), "the sentence below the table says so"


def test_every_option_a_provider_reads_stands_in_the_readme() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]*)\|", _between("providers"), re.MULTILINE))
    example = _between("standard-webhooks")
    for name in PROVIDERS:
        source = (Path(sys.modules[type(PROVIDERS[name]).__module__].__file__ or "")).read_text(encoding="utf-8")
        read = set(re.findall(r'account\.options\.get\("(\w+)"\)', source))
        assert read == set(re.findall(r"`(\w+)`", rows[name])), name
    for option in KNOWN_OPTIONS:
        assert re.search(rf"^{option} =|^\[sources\.acme\.options\.{option}\]", example, re.MULTILINE), option


def test_the_upstream_described_in_the_readme_can_be_taken_in(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", _between("standard-webhooks"), re.DOTALL)
    assert block
    (tmp_path / "acme.key").write_text("a-key-of-the-readme")
    file = tmp_path / "hookledger.toml"
    file.write_text(block[1].replace("whsec_…", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), encoding="utf-8")
    assert load_config(file, {}).source("acme").trust == "signed"


def test_the_source_of_a_stand_in_can_be_taken_in(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", _between("local"), re.DOTALL)
    assert block
    file = tmp_path / "hookledger.toml"
    file.write_text(block[1], encoding="utf-8")
    assert load_config(file, {}).source("civitai").base_url == "http://127.0.0.1:9001"


def _between(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"README.md has nothing between <!-- {name} --> and <!-- /{name} -->"
    return found[1]


def test_the_module_prints_the_table() -> None:
    done = subprocess.run([sys.executable, "-m", "receiver.config"], capture_output=True, text=True, check=True)
    assert done.stdout == markdown() + "\n"
