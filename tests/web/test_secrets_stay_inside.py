"""Every known secret is planted wherever upstream can echo it, and looked for in everything that leaves."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from receiver.cli import main
from receiver.config import Config, load_config
from receiver.ledger.database import Database
from receiver.logs import log_event, setup_logging
from receiver.redaction import Redactor
from receiver.web.app import build_app
from receiver.web.server import address_of, bind, running
from tests.web.asking import IMAGE, Api, Upstream, document, make_token, path_of
from tests.web.client import ask, event
from tests.web.conftest import Running

PASSWORD = "Pa55-word-of-the-database"
SECRETS = {
    "API key": "planted-api-key-0001",
    "hook token": "planted-hook-token-0001",
    "older hook token": "planted-hook-token-0000",
    "signing secret": "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldA",
    "database password": PASSWORD,
}
ENVIRONMENT = {
    "HOOKLEDGER_SERVER__PUBLIC_URL": "https://hooks.example.com",
    "HOOKLEDGER_SOURCES__CIV__PROVIDER": "civitai",
    "HOOKLEDGER_SOURCES__CIV__TRUST": "token",
    "HOOKLEDGER_SOURCES__CIV__API_KEY": SECRETS["API key"],
    "HOOKLEDGER_SOURCES__CIV__HOOK_TOKEN": f"{SECRETS['hook token']},{SECRETS['older hook token']}",
    "HOOKLEDGER_SOURCES__CIV__SIGNING_SECRETS": SECRETS["signing secret"],
}


def forms(secret: str) -> set[str]:
    """How a secret may look on its way out."""
    core = secret.removeprefix("whsec_")
    if secret.startswith("hl_"):
        return {secret}  # only its hash is kept: it is known by its shape, which base64 does not have
    encoded = base64.b64encode(f"x{core}yz".encode()).decode()
    return {secret, core, quote(core, safe=""), encoded[4:-4]}


def planted(secrets: list[str]) -> dict[str, Any]:
    """A document with every secret in every place that upstream may echo one in."""
    everything = " ".join(secrets)
    hooks = [f"https://hooks.example.com/hooks/civ?token={quote(one)}&ref=x" for one in secrets]
    shown = document("wf-1", "failed", url=f"https://orchestration.civitai.com/x?sig={secrets[0]}")
    shown["callbacks"] = [{"url": hook, "type": ["workflow:*"]} for hook in hooks]
    shown["metadata"] = {"hooks": hooks, "nested": json.dumps({"again": json.dumps(hooks)}), secrets[0]: 1}
    shown["arguments"] = {"key": everything}
    shown["tags"] = secrets
    shown["invented"] = [base64.b64encode(f"x{one.removeprefix('whsec_')}yz".encode()).decode() for one in secrets]
    (step,) = shown["steps"]
    step |= {"reason": everything, "blockedReason": everything, "metadata": {"note": hooks}}
    step["input"] |= {"prompt": everything, "callbackUrl": hooks[0]}
    step["output"]["images"][0] |= {"previewUrl": hooks[0], "note": everything}
    step["jobs"][0] |= {"reason": everything, "extra": hooks}
    return shown


@dataclass
class Planted:
    """A receiver whose upstream knows all of our secrets."""

    api: Api
    secrets: list[str]
    config: Config
    logged: io.StringIO

    def assert_clean(self, what: str, content: str) -> None:
        assert content, what
        for secret in self.secrets:
            for form in forms(secret):
                assert form not in content, f"{what} holds {secret} as {form}"


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    # PostgreSQL of the tests asks for no password, so that any will do.
    url = database_url
    if url.startswith("postgresql:"):
        url = re.sub(r"//([^:@/]*)(:[^@/]*)?@", rf"//\1:{PASSWORD}@", url)
    return {**ENVIRONMENT, "HOOKLEDGER_DATABASE__URL": url}


@pytest.fixture
async def site(database: Database, environment: dict[str, str]) -> AsyncIterator[Planted]:
    config = load_config(env=environment)
    secrets = [secret for name, secret in SECRETS.items() if name != "database password"]
    secrets += [PASSWORD] if PASSWORD in environment["HOOKLEDGER_DATABASE__URL"] else []
    token = await make_token(database, "write")
    secrets.append(token)
    redactor = Redactor(config.secret_values())
    logged = io.StringIO()
    before = logging.getLogger().handlers[:]
    setup_logging(redactor, stream=logged)
    app = build_app(config, database, redactor)
    sock = bind("127.0.0.1", 0)
    url = address_of(sock)
    try:
        async with running(app, sock) as server:
            yield Planted(Api(Running(url, app.state.site, server), token), secrets, config, logged)
    finally:
        logging.captureWarnings(False)
        logging.getLogger().handlers[:] = before


async def fill(site: Planted, database: Database) -> None:
    """Bring the secrets in by every door: a delivery, a look, a track, and what cannot be read."""
    shown = planted(site.secrets)
    hook = f"{site.api.running.url}/hooks/civ?token={SECRETS['hook token']}"
    everything = " ".join(site.secrets)
    step = {"$type": "step", "workflowId": "wf-1", "name": "$0", "status": "failed", "details": shown["steps"][0]}
    unreadable = json.dumps({"$type": "workflow", "workflowId": "wf-1", "status": [everything]}).encode()
    for body in (event("wf-1", "failed", reason=everything, details=shown), json.dumps(step).encode(), unreadable):
        assert (await ask("POST", hook, body, x_echo=everything)).status == 200
    upstream = Upstream(database, site.config)
    await upstream.settle("wf-1", shown)
    told = {
        "source": "civ", "id": "wf-1", "request": shown, "response": shown, "context": {"note": everything},
        "media": {"note": everything}, "ref": site.secrets[0], "locator": {"note": everything},
    }  # fmt: skip
    assert (await site.api.post("/v1/workflows", told)).status == 200


async def test_no_answer_holds_a_secret(site: Planted, database: Database) -> None:
    await fill(site, database)
    path = path_of("wf-1")
    asked = [
        path, f"{path}/transitions", f"{path}/evidence", f"{path}/document", f"{path}/incident", "/v1/workflows",
        "/v1/jobs", "/v1/sources",
        f"/v1/blobs/civ/{IMAGE}", f"/blobs/civ/{IMAGE}", "/metrics", "/healthz", "/readyz",
    ]  # fmt: skip
    for one in asked:
        answer = await site.api.get(one)
        assert answer.status < 400 or one.startswith("/blobs/"), (one, answer.body)
        site.assert_clean(one, answer.body.decode() + repr(answer.headers))
    document_shown = (await site.api.get(f"{path}/document")).json
    assert document_shown["id"] == "wf-1"
    assert document_shown["callbacks"][0]["url"].startswith("https://hooks.example.com/hooks/civ?token=[secret]")
    assert "[secret]" in (await site.api.workflow("wf-1"))["reason"]


async def test_no_problem_holds_a_secret(site: Planted) -> None:
    for secret in site.secrets:
        named = quote(secret, safe="")
        for answer in (
            await site.api.get(f"/v1/workflows/civ/{named}"),
            await site.api.get(f"/v1/workflows/{named}/x"),
            await site.api.get(f"/blobs/civ/{named}"),
            await site.api.get("/v1/workflows", status=secret),
            await site.api.get("/v1/workflows", **{secret: "x"}),
            await site.api.get("/v1/workflows", cursor=secret),
            await site.api.post("/v1/workflows", {"source": secret, "id": "x"}),
            await site.api.post("/v1/workflows", {"source": "civ", "id": "x", secret: 1}),
            await site.api.post(f"/v1/workflows/civ/x/attention/{named}/ack"),
            await ask("GET", f"{site.api.running.url}/v1/workflows", authorization=f"Bearer {secret}x"),
        ):
            assert answer.status >= 400
            site.assert_clean("a problem", answer.body.decode() + repr(answer.headers))


async def test_no_log_line_holds_a_secret(site: Planted, database: Database) -> None:
    await fill(site, database)
    for secret in site.secrets:
        await ask("POST", f"{site.api.running.url}/hooks/civ?token={secret}x", b"{}", x_echo=secret)
        log_event("tests", note=f"https://x.example/?token={secret} {secret}", error=ValueError(secret))
        async with database.write() as connection:
            await connection.exec_driver_sql("SELECT 1")
    async with database.write() as connection:
        await connection.exec_driver_sql("INSERT INTO source_state (source, hint_count, requests) VALUES ('x', 0, '{')")
    url, headers = f"{site.api.running.url}/v1/sources", {"authorization": f"Bearer {site.api.token}"}
    assert (await ask("GET", url, **headers)).status == 500
    assert "unexpected" in site.logged.getvalue()
    site.assert_clean("the log", site.logged.getvalue())


async def test_no_stored_track_holds_a_secret(site: Planted, database: Database) -> None:
    await fill(site, database)
    async with database.read() as connection:
        rows = await connection.exec_driver_sql("SELECT decision FROM evidence WHERE kind = 'decision'")
        site.assert_clean("the stored decision", repr(rows.all()))


async def test_no_command_prints_a_secret(
    site: Planted, database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    await fill(site, database)
    shown = tmp_path / "answer.json"
    shown.write_text(json.dumps(planted(site.secrets)))
    for command in (
        ["show", "civ", "wf-1"],
        ["show", "civ", "wf-1", "--json"],
        ["incident", "civ", "wf-1"],
        ["incident", "civ", "wf-1", "--json"],
        ["list"],
        ["list", "--json"],
        ["list", "--status", " ".join(site.secrets)],
        ["token", "list"],
        ["track", "civ", "--response", str(shown), "--request", str(shown), "--json"],
    ):
        done = await in_thread(command, environment)
        assert done.exit_code == (2 if "--status" in command else 0), done.output
        if "--status" not in command:
            site.assert_clean(" ".join(command), done.output)


async def in_thread(command: list[str], environment: dict[str, str]) -> Any:
    """Run a command as a shell would, beside the event loop of the test."""
    return await asyncio.to_thread(CliRunner(env=environment).invoke, main, command)


async def test_the_two_outputs_that_are_secrets_on_purpose_show_them(
    database: Database, environment: dict[str, str]
) -> None:
    done = await in_thread(["url", "civ", "--ref", "a b"], environment)
    assert done.output == f"https://hooks.example.com/hooks/civ?token={SECRETS['hook token']}&ref=a+b\n"
    made = json.loads((await in_thread(["token", "create", "t", "--scope", "read", "--json"], environment)).output)
    assert re.fullmatch(r"hl_[A-Za-z0-9_-]{43}", made["token"])
