"""The README's first command as a newcomer runs it: a fresh copy, a fresh virtual environment, nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.demo, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
NOT_OURS = shutil.ignore_patterns(".git", ".venv", "*_cache", ".hypothesis", "__pycache__", "*.db", "dist")


def command_in_readme() -> str:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- demo -->\n```sh\n(.*?)\n```\n<!-- /demo -->", readme, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the README's command has run once, ending with the demo's table."""
    copy = tmp_path_factory.mktemp("newcomer") / "hookledger"
    shutil.copytree(ROOT, copy, ignore=NOT_OURS)
    install, demo = command_in_readme().rsplit(" && ", 1)
    subprocess.run(["bash", "-ec", install], cwd=copy, check=True, timeout=600)
    (copy / "demo-command").write_text(demo)
    return copy


@pytest.mark.parametrize("seed", [1, 2])
def test_the_demo_ends_with_no_difference_in_under_ninety_seconds(fresh: Path, seed: int) -> None:
    command = (fresh / "demo-command").read_text()
    began = time.monotonic()
    told = ["bash", "-ec", f"{command} --once --seed {seed}"]
    done = subprocess.run(told, check=False, cwd=fresh, capture_output=True, text=True, timeout=200)
    took = time.monotonic() - began
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences" in done.stdout
    assert took < 90, "a promise of the README, not a measurement"


def test_what_is_installed_carries_migrations_and_types(fresh: Path) -> None:
    (package,) = fresh.glob(".venv/lib/python3*/site-packages/receiver")
    assert (package / "py.typed").exists()
    assert sorted(path.name[:4] for path in (package / "ledger/migrations/versions").glob("0*.py"))[0] == "0001"
    assert (package / "ledger/migrations/script.py.mako").exists()


def test_a_demo_that_is_told_to_end_takes_its_programs_along(fresh: Path, tmp_path: Path) -> None:
    # As from a shell's background, where SIGINT is ignored by whoever does not ask for it.
    command = [str(fresh / ".venv/bin/hookledger"), "demo", "--workflows", "3"]
    demo = subprocess.Popen(["nohup", *command], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children")
    ends = time.monotonic() + 60
    while len(started := children.read_text().split()) < 5:
        assert time.monotonic() < ends, "the stand-ins and hookledger did not start"
        time.sleep(0.1)
    demo.terminate()
    assert demo.wait(60) == 0
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
