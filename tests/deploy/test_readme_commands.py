"""The README's way through one machine without an account, and what it says to ask with, as a reader pastes them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import TOP, Run

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(60)]

README = (TOP / "README.md").read_text(encoding="utf-8")


def fenced(after: str, language: str) -> str:
    """Return the first block of a language below some text of the README."""
    found = re.search(rf"^( *)```{language}\n(.*?)^ *```$", README.partition(after)[2], re.DOTALL | re.MULTILINE)
    assert found, f"no {language} block below {after}"
    return found[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


@dataclass
class Reader:
    """Somebody who has pasted the block into a shell in a folder of their own."""

    folder: Path
    ports: dict[str, str]
    environment: dict[str, str]

    def mine(self, text: str) -> str:
        """The README's text with ports that are free here instead of its own."""
        for said, free in self.ports.items():
            assert said in README
            text = text.replace(f":{said}", f":{free}")
        return text

    async def run(self, command: str) -> str:
        """Run one command to its good end; return what it printed."""
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", command, cwd=self.folder, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 45)
        assert process.returncode == 0, f"{command}: {out.decode()} {err.decode()}"
        return out.decode()

    async def until_drawn(self, *words: str) -> str:
        """Wait for a line of what the block prints that has all these words."""
        printed = self.folder / "printed"
        async with asyncio.timeout(45):
            while True:
                text = printed.read_text()
                if any(all(word in line for word in words) for line in text.splitlines()):
                    return text
                await asyncio.sleep(0.2)


@asynccontextmanager
async def pasted(folder: Path) -> AsyncIterator[Reader]:
    """The two blocks of "On one machine, without an account" at work; all that they started ends with it."""
    heading = "### On one machine, without an account"
    reader = Reader(
        folder, {"8080": str(free_port()), "9001": str(free_port())},
        {**{name: value for name, value in os.environ.items() if not name.startswith("HOOKLEDGER_")},
         "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "160"},
    )  # fmt: skip
    settings = reader.mine(fenced(heading, "toml")).replace("[server]", f"[server]\nport = {reader.ports['8080']}")
    (folder / "hookledger.toml").write_text(settings)
    block = reader.mine(fenced(heading, "sh"))
    block = block.replace("sandbox civitai", f"sandbox civitai --port {reader.ports['9001']}")
    with (folder / "printed").open("w") as printed:
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", block, cwd=folder, env=reader.environment, stdout=printed, stderr=printed,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield reader
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        await asyncio.wait_for(shell.wait(), 20)
        async with asyncio.timeout(20):
            while is_alive(shell.pid):  # noqa: ASYNC110 - other programs
                await asyncio.sleep(0.05)


def is_alive(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def questions() -> list[str]:
    """Return the `curl` lines of what the README says to ask with."""
    lines = [line.strip() for line in fenced("5. Ask:", "sh").splitlines()]
    return [line for line in lines if line.startswith("curl ")]


async def asked(reader: Reader, line: str, of: dict[str, str]) -> tuple[list[int], Any]:
    """Run a `curl` line with its `<…>` filled in; return the status of each answer, and the JSON that was printed."""
    for name, value in of.items():
        line = line.replace(f"<{name}>", value)
    assert "<" not in line, line
    printed = await reader.run(f"{reader.mine(line)} --silent --show-error --dump-header heads")
    heads = (reader.folder / "heads").read_text()
    statuses = [int(code) for code in re.findall(r"^HTTP/[\d.]+ (\d{3})", heads, re.MULTILINE)]
    return statuses, json.loads(printed) if printed else None


async def test_the_way_without_an_account_ends_as_the_readme_says_and_can_be_asked_about(
    tmp_path: Path, tool: Run
) -> None:
    assert tool("curl", "--version").returncode == 0
    async with pasted(tmp_path) as reader:
        drawn = await reader.until_drawn("succeeded")
        assert "Traceback" not in drawn
        (listed,) = json.loads(await reader.run("hookledger list --json"))["items"]
        sent = json.loads(await reader.run(reader.mine("curl -s http://127.0.0.1:9001/_sandbox/log")))["callbacks"]
        assert [one["outcome"] for one in sent if one["event"]["level"] == "workflow"] == ["dropped"] * 4
        assert "delivered" in {one["outcome"] for one in sent}
        token = re.search(r"`(hookledger token create my-app [^`]*)`", README)
        assert token is not None
        reader.environment["TOKEN"] = json.loads(await reader.run(f"{token[1]} --json"))["token"]
        about, of_file = questions()
        statuses, shown = await asked(reader, about, {"id": listed["id"]})
        assert (statuses, shown["id"], shown["status"]) == ([200], listed["id"], "succeeded")
        assert shown["confirmed_at"] is not None
        assert shown["finished_via"] != "delivery", "no callback told of the end"
        (blob,) = shown["blobs"]
        statuses, _ = await asked(reader, of_file, {"blob id": blob["id"]})
        assert statuses == [302, 200]
        name = shlex.split(of_file)[-1]
        assert blob["id"].encode() in (tmp_path / name).read_bytes(), "the file that the sandbox made for this blob"
        shown_by_us = await reader.run(f"hookledger show civitai {shlex.quote(listed['id'])}")
        assert "succeeded" in shown_by_us
        assert json.loads(await reader.run("hookledger list --open --json"))["items"] == []
