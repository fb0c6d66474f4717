"""Providers of other packages: real ones, with the metadata that an installer leaves, on a real path."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receiver.config.errors import ConfigError
from receiver.config.root import load_config
from receiver.providers import PROVIDERS
from receiver.providers.registry import BrokenProvider, Registry

ROOT = Path(__file__).parents[2]
WORKING = """
from receiver.providers.luma import Luma

class Acme(Luma):
    name = "{name}"

ready = Acme()
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Lay out a package as an installer does: its module, and a dist-info with its metadata and entry points."""

    def lay_out(name: str, code: str, entry: str, package: str | None = None) -> None:
        package = package or f"hookledger-{name}"
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
        points = f"[hookledger.providers]\n{name} = {module}:{entry}\n"
        (info / "entry_points.txt").write_text(points, encoding="utf-8")

    sys.path.insert(0, str(tmp_path))
    before = set(sys.modules)
    yield lay_out
    sys.path.remove(str(tmp_path))
    for module in set(sys.modules) - before:
        if module.startswith("hookledger_"):
            del sys.modules[module]


def registry() -> Registry:
    return Registry([PROVIDERS["luma"]])


@pytest.mark.parametrize("entry", ["Acme", "ready"])
def test_another_packages_provider_is_found_by_its_name(install: Install, entry: str) -> None:
    install("acme", WORKING.format(name="acme"), entry)
    found = registry()
    assert found["acme"].name == "acme"
    assert found["acme"] is found["acme"]
    assert ("acme" in found, list(found), len(found)) == (True, ["luma", "acme"], 2)
    assert "nosuch" not in found
    assert found.get("nosuch") is None


def test_a_packages_code_runs_only_when_its_provider_is_asked_for(install: Install) -> None:
    install("acme", WORKING.format(name="acme"), "Acme")
    found = registry()
    assert found["luma"] is PROVIDERS["luma"]
    assert sorted(found) == ["acme", "luma"]
    assert "hookledger_acme" not in sys.modules
    assert found["acme"]
    assert "hookledger_acme" in sys.modules


def test_installed_packages_are_not_searched_for_our_own_providers() -> None:
    code = (
        "import sys, receiver.providers as p; p.provider_named('luma'); sys.exit('importlib.metadata' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_our_own_names_cannot_be_taken(install: Install) -> None:
    install("luma", "raise RuntimeError('never run')", "Acme")
    found = registry()
    assert found["luma"] is PROVIDERS["luma"]
    assert (list(found), len(found)) == (["luma"], 1)


@pytest.mark.parametrize(
    ("code", "entry", "said"),
    [
        ("import nothing_that_exists", "Acme", "cannot be loaded: ModuleNotFoundError: No module named"),
        ("def (", "Acme", "cannot be loaded: SyntaxError"),
        ("x = 1", "Acme", "cannot be loaded: AttributeError"),
        ("class Acme:\n  def __init__(self): raise OSError('no disk')", "Acme", "cannot be loaded: OSError: no disk"),
        ("class Acme: pass", "Acme", "its `name` is None, and must be that of its entry point"),
        (WORKING.format(name="other"), "Acme", "its `name` is 'other'"),
        ("class Acme: name = 'acme'", "Acme", "its `habits` must be a receiver.providers.base.Habits"),
        (
            WORKING.format(name="acme") + "\nAcme.errors = {}",
            "Acme",
            "its `errors` must be a receiver.providers.advice.ErrorTable",
        ),
        (WORKING.format(name="acme") + "\nAcme.read = Acme.relink = None", "Acme", "it has no method read, relink"),
    ],
)
def test_a_broken_one_is_named_with_what_is_wrong(install: Install, code: str, entry: str, said: str) -> None:
    install("acme", code, entry)
    found = registry()
    assert "acme" in list(found)
    with pytest.raises(BrokenProvider) as caught:
        found["acme"]
    assert said in str(caught.value)
    assert f"the provider 'acme' of hookledger-acme 1.2 (hookledger_acme:{entry})" in str(caught.value)


def test_two_packages_with_one_name_are_both_named(install: Install) -> None:
    install("acme", WORKING.format(name="acme"), "Acme")
    install("acme", WORKING.format(name="acme"), "Acme", package="hookledger-acme2")
    with pytest.raises(BrokenProvider, match=r"hookledger-acme 1\.2 .* and hookledger-acme2 1\.2 .*uninstall"):
        registry()["acme"]


def test_a_source_may_name_it_and_a_broken_one_stops_the_start(install: Install, tmp_path: Path) -> None:
    install("acme", WORKING.format(name="acme"), "Acme")
    install("broken", "import nothing_that_exists", "Broken")
    file = tmp_path / "hookledger.toml"
    text = '[sources.mine]\nprovider = "{name}"\napi_key = "acme-key-1"\nhook_token = "{token}"\n'
    file.write_text(text.format(name="acme", token="t" * 40), encoding="utf-8")
    ours = Registry([])
    assert load_config(file, {}, providers=ours).source("mine").provider == "acme"
    file.write_text(text.format(name="broken", token="t" * 40), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"hookledger-broken 1\.2"):
        load_config(file, {}, providers=ours)


def test_the_command_line_says_which_package_is_broken(install: Install, tmp_path: Path) -> None:
    install("broken", "import nothing_that_exists", "Broken")
    file = tmp_path / "hookledger.toml"
    token = "t" * 40
    file.write_text(f'[sources.mine]\nprovider = "broken"\nhook_token = "{token}"\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "--config", str(file), "url", "mine"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "hookledger-broken 1.2" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_contract_that_holds_providers_apart_names_them_all() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = (each for each in tools["importlinter"]["contracts"] if each["type"] == "independence")
    ours = {type(provider).__module__ for provider in PROVIDERS.values()}
    assert set(contract["modules"]) == {module for module in ours if module.startswith("receiver.providers.")}
