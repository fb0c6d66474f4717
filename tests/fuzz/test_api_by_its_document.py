"""The whole API by its own document: schemathesis makes requests that fit it and others, with all checks on."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from receiver.ledger.database import Database
from tests.fuzz.conftest import SECONDS
from tests.fuzz.test_over_the_wire import told
from tests.web.asking import make_token
from tests.web.serving import environment, serve

pytestmark = pytest.mark.fuzz

# A request may fit the document and be refused all the same: a source nobody configured, a cursor of another list.
SETTINGS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "302", "304", "400", "401", "403", "404", "408", "409", "410", "413", "422", "503"]
"""
SHARE = 0.2


async def test_schemathesis_finds_no_fault(database_url: str, tmp_path: Path) -> None:
    opened = await Database.open(database_url)
    token = await make_token(opened, "admin")
    await opened.close()
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    seconds = max(int(SECONDS * SHARE), 10)
    env = environment(database_url, HOOKLEDGER_SOURCES__CIVITAI__PROVIDER="civitai",
                      HOOKLEDGER_SOURCES__CIVITAI__HOOK_TOKEN="hook-token-of-the-tests-1",
                      HOOKLEDGER_SOURCES__CIVITAI__BASE_URL="http://127.0.0.1:9")  # fmt: skip
    async with serve("--no-reconciler", folder=tmp_path, **env) as serving:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml", "run",
            f"{serving.url}/openapi.json", "-H", f"Authorization: Bearer {token}", "--checks", "all",
            "--exclude-path", "/v1/stream", "--phases", "examples,coverage,fuzzing,stateful",
            # One worker: two threads that parse source at once, as its generators do, may end in a SystemError of
            # CPython 3.11's own ("AST constructor recursion depth mismatch"), which says nothing of our server.
            "--workers", "1", "--max-time", str(seconds),
            "--request-timeout", "70", "--max-response-time", "70", "--suppress-health-check", "all",
            "--warnings", "off", "--no-color", *(["--max-examples", "15"] if seconds < 60 else []),
            cwd=tmp_path, env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        text = said.decode("utf-8", "replace")
        print(text[-4000:])
        assert process.returncode == 0, text[-6000:]
        await told(serving)
