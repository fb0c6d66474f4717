"""Upstreams that sign: true signatures and forged, keys fetched from upstream, thin events, failures in disguise."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from receiver.ledger import tokens
from receiver.ledger.database import Database, now
from receiver.sandbox.fal import running_fal
from receiver.sandbox.openai import running_openai
from receiver.sandbox.removebgvideo import running_removebgvideo
from receiver.sandbox.replicate import running_replicate
from tests.staging.programs import KEY, Stage, free_port
from tests.staging.waiting import until

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
FAULTS = {"speed": 60, "forge": 0.4, "duplicate": 0.3, "fail": 0.4, "api_key": KEY}
EACH = 6


@dataclass
class Signed:
    """One upstream that signs: where it is, how one submits to it, and what it knows to be true."""

    up: Any
    path: str
    header: dict[str, str]
    hook_field: str | None
    body: dict[str, Any]

    async def submit(self, session: aiohttp.ClientSession, hook: str) -> dict[str, Any]:
        body = {**self.body, self.hook_field: hook} if self.hook_field else self.body
        path = self.path.format(hook=quote(hook, safe=""))
        async with session.post(self.up.base_url + path, json=body, headers=self.header) as answer:
            assert answer.status in (200, 201, 202), await answer.text()
            return dict(await answer.json())


def configured(stage: Stage, upstreams: dict[str, Signed]) -> None:
    lines = ["[database]", f'url = "{stage.database_url}"', "[server]", f"port = {stage.port}"]
    for name, one in upstreams.items():
        lines += [f"[sources.{name}]", f'provider = "{name}"', f'base_url = "{one.up.base_url}"', f'api_key = "{KEY}"']
        lines += ['silence = "4s"', "allow_private = true"]
        if name == "fal":
            lines += ['trust = "signed"', f'options = {{jwks_url = "{one.up.base_url}/.well-known/jwks.json"}}']
        else:
            lines.append(f'signing_secrets = ["{one.up.sandbox.faults.signing_secret}"]')
    stage.config.write_text("\n".join(lines))


@contextlib.asynccontextmanager
async def upstreams_on(port: int) -> AsyncIterator[dict[str, Signed]]:
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        fal = await enter(running_fal(**FAULTS))
        replicate = await enter(running_replicate(**FAULTS, signing_secret=SECRET))
        openai = await enter(
            running_openai(**FAULTS, signing_secret=SECRET, webhook_url=f"http://127.0.0.1:{port}/hooks/openai")
        )
        removebg = await enter(running_removebgvideo(**FAULTS, signing_secret="a-secret-of-sixteen", body="mixed"))
        bearer = {"Authorization": f"Bearer {KEY}"}
        video = {"video_url": "https://example.com/a.mp4", "model": "pro", "output_format": "webm", "bg_type": "green"}
        yield {
            "fal": Signed(
                fal, "/fal-ai/flux/dev?fal_webhook={hook}", {"Authorization": f"Key {KEY}"}, None, {"prompt": "x"}
            ),
            "replicate": Signed(
                replicate, "/v1/predictions", bearer, "webhook", {"version": "v1", "input": {"prompt": "x"}}
            ),
            "openai": Signed(openai, "/v1/responses", bearer, None, {"model": "m", "input": "x", "background": True}),
            "removebgvideo": Signed(removebg, "/v1/jobs", {"X-Api-Key": KEY}, "webhook_url", video),
        }  # fmt: skip


@pytest.mark.timeout(180)
async def test_signed_upstreams_end_as_they_truly_did_whatever_is_forged(database_url: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path, database_url, free_port())
    database = await Database.open(database_url)
    async with database.write() as connection:
        token = await tokens.create(connection, "story", "admin", await now(connection))
    await database.close()
    headers = {"Authorization": f"Bearer {token}"}
    async with upstreams_on(stage.port) as upstreams, aiohttp.ClientSession() as session:
        configured(stage, upstreams)
        async with stage.running("serve", "serve") as program:
            await stage.until_ready(program)
            for name, one in upstreams.items():
                for _ in range(EACH):
                    answer = await one.submit(session, f"{stage.url}/hooks/{name}")
                    told = {"source": name, "response": answer, "request": one.body}
                    async with session.post(f"{stage.url}/v1/workflows", json=told, headers=headers) as tracked:
                        assert tracked.status in (200, 201), await tracked.text()

            async def ours() -> dict[tuple[str, str], dict[str, Any]]:
                async with session.get(f"{stage.url}/v1/workflows?limit=200", headers=headers) as listed:
                    return {(one["source"], one["id"]): one for one in (await listed.json())["items"]}

            async def settled() -> bool:
                return all(one["confirmed_at"] is not None for one in (await ours()).values())

            await until(settled, 90, every=0.5)
            true = {
                (name, task["id"]): task["canonical"]
                for name, one in upstreams.items()
                for task in one.up.truth()["workflows"]
            }
            assert {key: one["status"] for key, one in (await ours()).items()} == true
            assert len(true) == 4 * EACH
            assert {"succeeded", "failed"} <= set(true.values()), "the seed draws both, or the test shows little"
            forged = sum(bool(call["forged"]) for one in upstreams.values() for call in one.up.log()["callbacks"])
            assert forged > 0, "somebody tried"
