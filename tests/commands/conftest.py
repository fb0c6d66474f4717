"""The command as a shell would call it, on a database of each kind; the file and the environment are the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receiver.cli import main

HOOK_TOKEN = "hook-token-of-the-commands"


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def configuration(database_url: str, tmp_path: Path) -> Path:
    """A file with one source, `civ`, and one that is only polled."""
    path = tmp_path / "hookledger.toml"
    path.write_text(
        f"""
        [database]
        url = "{database_url}"
        [server]
        public_url = "https://hooks.example.com/base"
        [sources.civ]
        provider = "civitai"
        api_key = "api-key-of-the-commands"
        hook_token = ["{HOOK_TOKEN}", "{HOOK_TOKEN}-older"]
        [sources.polled]
        provider = "civitai"
        trust = "none"
        [sources.hinted]
        provider = "civitai"
        trust = "hint"
        """
    )
    return path


@pytest.fixture
def hookledger(configuration: Path) -> Command:
    """`hookledger("list", "--json")` runs a command to its end."""

    def run(*words: str, stdin: str = "") -> Done:
        result = CliRunner().invoke(main, ["--config", str(configuration), *words], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run
