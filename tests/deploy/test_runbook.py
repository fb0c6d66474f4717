"""The runbook and the example say only what is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.config import ConfigError, load_config
from receiver.ledger.tables import ATTENTION_KINDS
from tests.deploy.conftest import DEPLOY, TOP, Run
from tests.deploy.test_compose import SECRETS

pytestmark = pytest.mark.deploy

RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
EXAMPLE = DEPLOY / "hookledger.example.toml"
MADE_UP = {
    "HOOKLEDGER_SOURCES__CIVITAI__API_KEY": SECRETS["sources__civitai__api_key"].strip(),
    "HOOKLEDGER_SOURCES__CIVITAI__HOOK_TOKEN": SECRETS["sources__civitai__hook_token"].strip(),
}


def section(title: str) -> str:
    """Return the text below a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", RUNBOOK, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def commands() -> list[str]:
    """Return every command of ours in the runbook, in blocks and in lines."""
    return sorted({match[1] for match in re.finditer(r"(?:^|`)hl ([^`\n]+)", RUNBOOK, re.MULTILINE)})


def test_the_runbook_has_commands() -> None:
    assert len(commands()) > 5


@pytest.mark.parametrize("command", commands())
def test_each_command_in_the_runbook_is_one_we_have(hookledger: Run, command: str) -> None:
    done = hookledger(*shlex.split(command), "--help")
    assert done.returncode == 0, done.stderr


def test_each_command_in_the_readme_is_one_we_have(hookledger: Run) -> None:
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    for command in re.findall(r"(?:^|/bin/|exec receiver )hookledger ([a-z][^`\n#|>\\]*)", readme, re.MULTILINE):
        done = hookledger(*shlex.split(command), "--help")
        assert done.returncode == 0, done.stderr


def test_a_wrong_option_would_be_seen(hookledger: Run) -> None:
    assert hookledger("reconcile", "--wacth", "--help").returncode == 2


def test_every_kind_of_attention_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section("Attention: what it means, what to do"), re.MULTILINE)
    assert sorted(rows) == sorted(ATTENTION_KINDS)


def test_every_log_line_is_explained_and_every_one_explained_is_written() -> None:
    source = "".join(file.read_text() for folder in ("receiver", "reconciler") for file in (TOP / folder).rglob("*.py"))
    written = set(re.findall(r'(?:log_event|log_soon|Seldom)\(\s*"([^"]+)"', source)) | {"log"}
    cells = re.findall(r"^\| (`[^|]+`) \|", section("Lines in the log"), re.MULTILINE)
    explained = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} - {"event"}
    assert len(explained) > 10
    assert explained == written


def test_the_sqlite_backup_is_a_whole_ledger(tmp_path: Path, sqlite_url: str, hookledger: Run) -> None:
    (script,) = re.findall(
        r"^sudo /opt/hookledger/bin/python -c '([^']+)'", section("Backup and restore"), re.MULTILINE
    )
    copy = tmp_path / "copy.db"
    database = sqlite_url.removeprefix("sqlite:///")
    subprocess.run([sys.executable, "-c", script, database, str(copy)], check=True, timeout=60)
    config = tmp_path / "copy.toml"
    config.write_text(f'[database]\nurl = "sqlite:///{copy}"\n')
    done = hookledger("--config", str(config), "db", "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_holds_no_secret_and_does_not_start_without_them() -> None:
    with pytest.raises(ConfigError, match="hook_token"):
        load_config(EXAMPLE, {})
    assert load_config(EXAMPLE, MADE_UP).secret_values() == frozenset(MADE_UP.values())


def test_what_the_example_leaves_commented_out_can_be_taken_in(tmp_path: Path) -> None:
    whole, count = re.subn(r"^# (?=\w+ = |\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count >= 5
    file = tmp_path / "hookledger.toml"
    file.write_text(whole, encoding="utf-8")
    config = load_config(file, MADE_UP)
    assert config.server.trusted_proxies == ("127.0.0.1",)
    assert config.source("civitai").budget is not None
