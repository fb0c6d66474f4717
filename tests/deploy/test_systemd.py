"""The systemd units, by systemd's own verifier and its measure of exposure, in a root of their own."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.config import ServerConfig, load_config
from receiver.web.server import GRACE
from tests.deploy.conftest import DEPLOY, Run
from tests.deploy.test_compose import SECRETS

pytestmark = pytest.mark.deploy

UNITS = DEPLOY / "systemd"
SERVICES = ("hookledger.service", "hookledger-reconcile.service")
TIMER = "hookledger-reconcile.timer"
# systemd's measure goes from 0 to 100, and calls up to 20 safe. What is left is the network, which we need.
EXPOSURE = 15


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with systemd's own units, ours, and something executable where our command will be."""
    system = Path("/usr/lib/systemd/system")
    if not system.is_dir():
        system = Path("/lib/systemd/system")
    assert system.is_dir(), "systemd's own units are not installed; apt-get install systemd"
    shutil.copytree(system, tmp_path / "usr/lib/systemd/system", symlinks=True)
    program = tmp_path / "opt/hookledger/bin/hookledger"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    ours = tmp_path / "etc/systemd/system"
    ours.mkdir(parents=True)
    for unit in (*SERVICES, TIMER):
        shutil.copy(UNITS / unit, ours)
    return tmp_path


def drop_in(root: Path, service: str, name: str) -> None:
    """Lay a drop-in over a service."""
    folder = root / f"etc/systemd/system/{service}.d"
    folder.mkdir(exist_ok=True)
    shutil.copy(UNITS / name, folder)


def verify(tool: Run, root: Path) -> subprocess.CompletedProcess[str]:
    """Return systemd's verdict on all our units."""
    return tool("systemd-analyze", "verify", "--man=no", f"--root={root}", *SERVICES, TIMER)


def lines(name: str, section: str) -> list[str]:
    """Return the settings of one section."""
    found = re.search(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", (UNITS / name).read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return [line for line in found[1].splitlines() if line and not line.startswith("#")]


def setting(unit: str, name: str) -> list[str]:
    """Return the values of one setting of a unit's [Service]."""
    return [value for key, _, value in (line.partition("=") for line in lines(unit, "Service")) if key == name]


def test_systemd_has_nothing_to_say(tool: Run, root: Path) -> None:
    done = verify(tool, root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_has_nothing_to_say_with_the_drop_ins(tool: Run, root: Path) -> None:
    drop_in(root, "hookledger.service", "cron.conf")
    for service in SERVICES:
        drop_in(root, service, "database.conf")
    done = verify(tool, root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("ProtectSystem=", "ProtectSytem="), ("Type=exec", "Type=exce"), ("/opt/hookledger/bin", "/opt/hookledger/sbin")],
)
def test_systemd_would_speak_up(tool: Run, root: Path, right: str, wrong: str) -> None:
    unit = root / "etc/systemd/system/hookledger.service"
    unit.write_text(unit.read_text().replace(right, wrong))
    done = verify(tool, root)
    assert done.returncode != 0 or done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_exposes_little(tool: Run, root: Path, service: str) -> None:
    measure = ("security", "--no-pager", "--offline=true", f"--root={root}")
    done = tool("systemd-analyze", *measure, f"--threshold={EXPOSURE}", service)
    assert done.returncode == 0, done.stdout + done.stderr
    unit = root / "etc/systemd/system" / service
    unit.write_text(unit.read_text().replace("CapabilityBoundingSet=\n", ""))
    assert tool("systemd-analyze", *measure, f"--threshold={EXPOSURE}", service).returncode != 0


@pytest.mark.parametrize("unit", [*SERVICES, "cron.conf"])
def test_each_command_is_one_we_have(hookledger: Run, unit: str) -> None:
    commands = [value for value in setting(unit, "ExecStart") if value]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "/opt/hookledger/bin/hookledger"
        done = hookledger(*arguments, "--help")
        assert done.returncode == 0, done.stderr


def test_both_services_are_one_user_with_one_folder_and_equally_locked_down() -> None:
    of_one_alone = r"Type|ExecStart|Restart|RestartSec|TimeoutStartSec|LimitNOFILE"
    shared = [
        [line for line in lines(service, "Service") if not re.match(rf"(?:{of_one_alone})=", line)]
        for service in SERVICES
    ]
    assert shared[0] == shared[1]
    assert {"DynamicUser=yes", "User=hookledger", "NoNewPrivileges=yes", "ProtectSystem=strict"} <= set(shared[0])


def test_draining_and_a_pass_have_time_enough() -> None:
    server = ServerConfig()
    assert int(setting("hookledger.service", "TimeoutStopSec")[0].removesuffix("s")) > GRACE
    (longest,) = setting("hookledger-reconcile.service", "TimeoutStartSec")
    assert timedelta(seconds=int(longest.removesuffix("s"))) > server.pass_budget + server.item


def test_a_pass_that_failed_is_shown_as_failed() -> None:
    assert not setting("hookledger-reconcile.service", "SuccessExitStatus")


def test_the_timer_comes_every_minute_and_makes_up_for_time_off(tool: Run) -> None:
    assert {"OnCalendar=minutely", "Persistent=yes", "AccuracySec=1s"} <= set(lines(TIMER, "Timer"))
    done = tool("systemd-analyze", "calendar", "--iterations=2", "minutely")
    assert "*-*-* *:*:00" in done.stdout


def test_its_credentials_and_the_example_make_a_configuration(tmp_path: Path) -> None:
    loaded = setting("hookledger.service", "LoadCredential") + setting("database.conf", "LoadCredential")
    for credential in loaded:
        name, _, file = credential.partition(":")
        assert file == f"/etc/hookledger/secrets/{name}"
        (tmp_path / name).write_text(SECRETS[name])
    assert "HOOKLEDGER_SECRETS_DIR=%d" in setting("hookledger.service", "Environment")
    config = load_config(DEPLOY / "hookledger.example.toml", {"HOOKLEDGER_SECRETS_DIR": str(tmp_path)})
    assert config.database.url == SECRETS["database__url"].strip()


def test_without_a_database_url_the_ledger_is_in_the_services_own_folder(tmp_path: Path) -> None:
    for credential in setting("hookledger.service", "LoadCredential"):
        name = credential.partition(":")[0]
        (tmp_path / name).write_text(SECRETS[name])
    config = load_config(DEPLOY / "hookledger.example.toml", {"HOOKLEDGER_SECRETS_DIR": str(tmp_path)})
    (folder,) = setting("hookledger.service", "StateDirectory")
    assert config.database.url == f"sqlite:////var/lib/{folder}/hookledger.db"
