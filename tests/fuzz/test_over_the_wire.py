"""Hostile deliveries, queries and heads against a real server: never a 500, never an exception nobody expected."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from receiver.ledger.database import Database
from receiver.providers import PROVIDERS
from tests.fuzz import hostile
from tests.fuzz.conftest import Clock
from tests.web.asking import make_token
from tests.web.client import NoAnswer, ask, connect, read_answer
from tests.web.serving import TOKEN, Serve, environment, serve

pytestmark = pytest.mark.fuzz

FINE = {
    200,
    201,
    202,
    204,
    302,
    303,
    304,
    307,
    400,
    401,
    403,
    404,
    405,
    408,
    409,
    410,
    413,
    414,
    422,
    429,
    431,
    503,
    505,
}
# What a log may hold at the level of an error: a poisoned delivery is one, and is kept.
EXPECTED = {"poisoned"}
PATHS = (
    "/v1/workflows", "/v1/jobs", "/v1/sources", "/v1/stats", "/v1/deliveries", "/v1/stream", "/hooks/civ", "/login",
    "/v1/workflows/civ/x", "/v1/workflows/civ/x/transitions", "/v1/workflows/civ/x/evidence", "/v1/blobs/civ/x",
    "/blobs/civ/x", "/workflows", "/attention", "/sources", "/deliveries", "/", "/metrics", "/openapi.json", "/%00",
    "/v1/workflows/civ/x/incident", "/v1/workflows/civ/x/document", "/v1/deliveries/x", "/v1/deliveries/x/body",
)  # fmt: skip
NAMES = (
    "source", "status", "open", "stale", "attention", "step_type", "context.a", "context[b]", "since", "until", "q",
    "limit", "cursor", "workflow", "id", "kind", "outcome", "span", "wait", "symptom", "token", "ref", "after", "by",
    "proof", "page", "sort", "code", "next",
)  # fmt: skip


def sources() -> dict[str, str]:
    """One source for each upstream that delivers, with a token in its URL where it can have one."""
    given: dict[str, str] = {}
    for name, provider in PROVIDERS.items():
        trusts = {str(trust) for trust in provider.habits.trusts}
        prefix = f"HOOKLEDGER_SOURCES__{name.upper()}__"
        if name == "standard-webhooks" or not trusts & {"token", "hint"}:
            continue
        given |= {f"{prefix}PROVIDER": name, f"{prefix}BASE_URL": "http://127.0.0.1:9", f"{prefix}API_KEY": "k" * 12}
        given |= {f"{prefix}HOOK_TOKEN": TOKEN} if "token" in trusts else {f"{prefix}TRUST": "hint"}
    return given


async def told(serving: Serve) -> None:
    """Fail when the log tells of something nobody expected."""
    await asyncio.sleep(1.5)
    wrong = [line for line in serving.log if line.get("level") in ("error", "critical") or "traceback" in line]
    assert [line for line in wrong if line["event"] not in EXPECTED] == []


async def one_head(url: str, sent: bytes) -> int | None:
    """Send raw bytes and return the status of the answer; None when the connection just ends, which is fine."""
    reader, writer = await connect(url)
    try:
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(20):
            return (await read_answer(reader)).status
    except (NoAnswer, ConnectionError, TimeoutError, ValueError, IndexError):
        return None
    finally:
        writer.close()


async def fuzzed(serving: Serve, token: str, chance: Random, clock: Clock) -> None:
    """Send hostile input of all kinds; every answer must be one that can be meant."""
    from test_provider_conformance import SAMPLES

    names = sorted(name for name in SAMPLES if f"HOOKLEDGER_SOURCES__{name.upper()}__PROVIDER" in sources())
    for number in clock:
        kind = number % 4
        if kind in (0, 1):
            name = chance.choice(names)
            known: Any = chance.choice(SAMPLES[name].events or (SAMPLES[name].answer,))
            query = hostile.query(chance, ("token", "ref")) if chance.random() < 0.2 else f"token={TOKEN}"
            url = f"{serving.url}/hooks/{name}?{query}"
            status = (
                await ask("POST", url, hostile.body(chance, known), x_webhook_signature=hostile.header(chance))
            ).status
        elif kind == 2:
            path = chance.choice([one for one in PATHS if one != "/v1/stream"])
            url = f"{serving.url}{path}?{hostile.query(chance, NAMES)}"
            status = (await ask("GET", url, authorization=f"Bearer {token}")).status
        else:
            found = await one_head(serving.url, hostile.head(chance, chance.choice(PATHS)))
            if found is None:
                continue
            status, url = found, "a hostile head"
        assert status in FINE, f"{url} was answered {status}"


async def test_nothing_sent_to_the_server_breaks_it(database_url: str, tmp_path: Path, chance: Random) -> None:
    clock = Clock(0.13)
    opened = await Database.open(database_url)
    try:
        token = await make_token(opened, "admin")
    finally:
        await opened.close()
    async with serve("--no-reconciler", folder=tmp_path, **environment(database_url, **sources())) as serving:
        await fuzzed(serving, token, chance, clock)
        alive = await ask("GET", f"{serving.url}/healthz")
        assert (alive.status, json.loads(alive.body)["status"]) == (200, "alive")
        await told(serving)
    print(f"requests: {clock.tries}")
