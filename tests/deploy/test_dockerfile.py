"""The Dockerfile, by hadolint; and what it says of us, by running it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from receiver import __version__
from tests.deploy.conftest import DEPLOY, TOP, Run

pytestmark = pytest.mark.deploy

DOCKERFILE = DEPLOY / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions: name and the rest, continued lines joined, comments left out."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]


def last_stage() -> list[tuple[str, str]]:
    """Return the instructions of the stage that becomes the image."""
    found = instructions()
    return found[max(place for place, (name, _) in enumerate(found) if name == "FROM") :]


def only(name: str) -> str:
    """Return the one instruction of this name in the last stage."""
    (found,) = [rest for said, rest in last_stage() if said == name]
    return found


def test_hadolint_has_nothing_to_say(tool: Run) -> None:
    done = tool("hadolint", "--no-color", "--failure-threshold", "style", DOCKERFILE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_would_speak_up(tool: Run, tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text(
        DOCKERFILE.read_text().replace("USER 10001:10001", "USER root").replace("STOPSIGNAL", "STOPSIGNL")
    )
    assert tool("hadolint", broken).returncode != 0


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", only("USER"))


def test_the_image_says_which_version_it_is() -> None:
    assert ("ARG", f"VERSION={__version__}") in last_stage()
    assert 'org.opencontainers.image.version="${VERSION}"' in only("LABEL")


def test_no_compiler_and_no_installer_gets_into_the_image() -> None:
    words = " ".join(rest for name, rest in last_stage() if name == "RUN")
    assert not re.search(r"apt-get|apk|pip|gcc|build-essential", words)
    assert "pip uninstall" in " ".join(rest for name, rest in instructions() if name == "RUN")


def test_the_entry_point_and_its_usual_arguments_are_a_command_we_have(hookledger: Run) -> None:
    entry, arguments = json.loads(only("ENTRYPOINT")), json.loads(only("CMD"))
    assert entry == ["hookledger"]
    done = hookledger(*arguments, "--help")
    assert done.returncode == 0, done.stderr


def test_everything_copied_into_the_build_is_let_through_by_dockerignore() -> None:
    rules = [line for line in (TOP / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "the list must begin by leaving everything out"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    }
    assert copied == let_in
    assert all((TOP / name).exists() for name in copied)
    secret = ("deploy/secrets/database__url", "hookledger.toml", "hookledger.db", ".git/config", "tests/conftest.py")
    assert not [path for path in secret for name in let_in if fnmatch(path, f"{name}*")]


def healthcheck() -> list[str]:
    """Return the health check's command, with this Python in place of the image's."""
    options, _, command = only("HEALTHCHECK").partition("CMD ")
    assert "--timeout" in options
    words: list[str] = json.loads(command)
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


def health(port: int) -> int:
    """Return what the health check ends with when we are at this port, and there is a proxy that would not do."""
    env = {"PATH": os.environ["PATH"], "HOOKLEDGER_SERVER__PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run(healthcheck(), env=env, capture_output=True, check=False, timeout=30).returncode


class _Silent(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_health_check_fails_on_503_and_where_nobody_listens() -> None:
    with HTTPServer(("127.0.0.1", 0), _Silent) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            assert health(server.server_port) != 0
        finally:
            server.shutdown()
            thread.join()
    assert health(server.server_port) != 0


@contextmanager
def receiver(folder: Path) -> Iterator[int]:
    """Run `serve` in a folder without any configuration, and give its port."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLEDGER_")}
    command = [sys.executable, "-m", "receiver", "serve", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=folder, env=env | {"PYTHONPATH": str(TOP)}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            told = json.loads(line)
            if told["event"] == "serving":
                yield int(told["address"].rpartition(":")[2])
                break
        else:
            raise AssertionError("it never said that it serves")
    finally:
        process.terminate()
        process.communicate(timeout=40)
    assert process.returncode == 0


def test_the_health_check_passes_for_a_living_receiver(tmp_path: Path) -> None:
    with receiver(tmp_path) as port:
        # It says where it is a moment before it answers.
        assert any(health(port) == 0 for _ in range(50))
