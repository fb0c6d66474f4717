"""Deliveries signed with keys that upstream publishes: the receiver wishes for them, the reconciler fetches them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, update
from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.config import Config, load_config
from receiver.intake import Intake
from receiver.ledger.database import Database, now
from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject, Trust
from receiver.providers.answers import answered
from receiver.providers.base import Account, Inbound, Provider, Request
from receiver.providers.base import Response as Answer
from receiver.providers.civitai import Civitai
from receiver.providers.jwks import published_keys
from receiver.providers.schemes import FAL
from receiver.providers.signing import check_published
from receiver.redaction import Redactor
from receiver.sandbox.serving import address_of, bind, serving
from receiver.web.app import build_app
from receiver.web.server import running
from reconciler.loop import run_daemon, run_pass
from tests.reconciler.world import until

API_KEY = "api-key-of-the-tests"
MINUTE = timedelta(minutes=1)


class Publisher(Civitai):
    """A made-up upstream with Civitai's words, and fal's way of signing; its keys are on a host of their own."""

    name = "publisher"
    habits = replace(Civitai.habits, publishes_keys=True, trusts=(Trust.SIGNED, Trust.NONE))

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        check_published(FAL, inbound, keys, account.tolerance)

    def keys_request(self, account: Account) -> Request | None:
        return Request("GET", account.options["jwks"], {"accept": "application/json"})

    def read_keys(self, response: Answer) -> JsonObject:
        nobody = Account("", "", Trust.SIGNED)
        return published_keys(answered(response, nobody, frozenset({200})), response.sent_at)


PROVIDERS: dict[str, Provider] = {"publisher": Publisher()}


@dataclass
class KeyHost:
    """Publishes keys, and keeps when it was asked and with which headers."""

    url: str = ""
    signers: list[Ed25519PrivateKey] = field(default_factory=lambda: [Ed25519PrivateKey.generate()])
    asked: list[tuple[datetime, dict[str, str]]] = field(default_factory=list)
    status: int = 200

    async def answer(self, request: WebRequest) -> Response:
        self.asked.append((datetime.now(UTC), dict(request.headers)))
        keys = [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": base64.urlsafe_b64encode(one.public_key().public_bytes_raw()).decode(),
            }
            for one in self.signers
        ]
        return JSONResponse({"keys": keys}, self.status)


@dataclass
class Stage:
    """A receiver at `hook`, its ledger, and where the signer's keys are."""

    config: Config
    database: Database
    host: KeyHost
    hook: str
    session: aiohttp.ClientSession

    async def deliver(self, signer: Ed25519PrivateKey, workflow: str = "wf") -> int:
        """Send a delivery signed by `signer`; returns the status of its answer."""
        body = json.dumps({"$type": "workflow", "workflowId": workflow, "status": "processing"}).encode()
        at = str(int(time.time()))
        message = "\n".join(("r", "u", at, hashlib.sha256(body).hexdigest())).encode()
        names = ("request-id", "user-id", "timestamp", "signature")
        values = ("r", "u", at, signer.sign(message).hex())
        headers = {f"x-fal-webhook-{name}": value for name, value in zip(names, values, strict=True)}
        async with self.session.post(self.hook, data=body, headers=headers) as answer:
            return answer.status

    async def one_pass(self) -> None:
        await run_pass(self.config, self.database, Redactor(()), providers=PROVIDERS)

    async def state(self) -> Any:
        async with self.database.read() as connection:
            return (await connection.execute(select(source_state))).one()

    async def let_pass(self, span: timedelta) -> None:
        """Make what is known of the keys that much older."""
        row = await self.state()
        older = {
            name: getattr(row, name) - span
            for name in ("keys_fetched_at", "keys_tried_at", "keys_wanted_at")
            if getattr(row, name) is not None
        }
        kept = row._mapping["keys"]
        if kept is not None:
            fetched = datetime.fromisoformat(kept["fetched_at"]) - span
            older["keys"] = kept | {"fetched_at": fetched.isoformat()}
        async with self.database.write() as connection:
            await connection.execute(update(source_state).values(older))
        await asyncio.sleep(REMEMBERED)


REMEMBERED = 3.1  # seconds; the receiver has read the keys anew by then


@pytest.fixture
async def host() -> AsyncIterator[KeyHost]:
    found = KeyHost()
    sock = bind("127.0.0.1", 0)
    found.url = address_of(sock)
    async with serving(Starlette(routes=[Route("/jwks.json", found.answer)]), sock):
        yield found


@pytest.fixture
async def stage(database: Database, database_url: str, host: KeyHost) -> AsyncIterator[Stage]:
    async with staged(database, database_url, host) as found:
        yield found


@asynccontextmanager
async def staged(database: Database, url: str, host: KeyHost, on: Database | None = None) -> AsyncIterator[Stage]:
    table = {
        "HOOKLEDGER_DATABASE__URL": url,
        "HOOKLEDGER_SOURCES__PUB__PROVIDER": "publisher",
        "HOOKLEDGER_SOURCES__PUB__TRUST": "signed",
        "HOOKLEDGER_SOURCES__PUB__API_KEY": API_KEY,
        "HOOKLEDGER_SOURCES__PUB__BASE_URL": "http://127.0.0.1:9",
        "HOOKLEDGER_SERVER__ANSWER_WITHIN": "1s",
    }
    config = load_config(env=table, providers=PROVIDERS)
    options = {"jwks": f"{host.url}/jwks.json"}
    pub = config.sources["pub"].model_copy(update={"options": options})
    config = config.model_copy(update={"sources": {"pub": pub}})
    app = build_app(config, on or database, Redactor(()), Intake(database), providers=PROVIDERS)
    sock = bind("127.0.0.1", 0)
    hook = f"{address_of(sock)}/hooks/pub"
    async with running(app, sock), aiohttp.ClientSession() as session:
        yield Stage(config, database, host, hook, session)


async def test_keys_are_fetched_before_anybody_asks_for_them(stage: Stage, host: KeyHost) -> None:
    await stage.one_pass()
    assert await stage.deliver(host.signers[0]) == 200
    assert await stage.deliver(Ed25519PrivateKey.generate()) == 401
    assert len(host.asked) == 1


async def test_without_keys_nobody_is_believed_or_turned_away_and_the_wish_is_kept(stage: Stage, host: KeyHost) -> None:
    assert await stage.deliver(host.signers[0]) == 503
    assert await stage.deliver(Ed25519PrivateKey.generate()) == 503
    assert (await stage.state()).keys_wanted_at is not None
    await stage.one_pass()
    assert (await stage.state()).keys_wanted_at is None
    assert await stage.deliver(host.signers[0]) == 200


async def test_a_daemon_answers_the_wish_for_keys_within_moments(stage: Stage, host: KeyHost) -> None:
    await stage.one_pass()
    await stage.let_pass(2 * MINUTE)
    host.signers.insert(0, Ed25519PrivateKey.generate())
    stop = asyncio.Event()
    daemons = [
        asyncio.create_task(run_daemon(stage.config, stage.database, Redactor(()), stop, providers=PROVIDERS))
        for _ in range(3)
    ]
    try:
        await asyncio.sleep(0.6)
        assert len(host.asked) == 1  # nobody wants newer ones
        assert await stage.deliver(host.signers[0]) == 503
        await until(lambda: len(host.asked) == 2, seconds=3)
        await asyncio.sleep(0.3)
        await until(lambda: _is(stage, host.signers[0], 200), seconds=REMEMBERED + 1)
        assert await stage.deliver(Ed25519PrivateKey.generate()) == 401
        await asyncio.sleep(1)
    finally:
        stop.set()
        await asyncio.gather(*daemons)
    assert len(host.asked) == 2


async def _is(stage: Stage, signer: Ed25519PrivateKey, status: int) -> bool:
    return await stage.deliver(signer) == status


async def test_keys_are_asked_for_once_a_minute_at_most_whoever_wants_them(stage: Stage, host: KeyHost) -> None:
    host.status = 503
    for _ in range(3):
        assert await stage.deliver(host.signers[0]) == 503
        await asyncio.gather(stage.one_pass(), stage.one_pass())
    assert len(host.asked) == 1
    async with stage.database.write() as connection:
        later = await now(connection) - MINUTE
        await connection.execute(update(source_state).values(keys_tried_at=later))
    await asyncio.gather(stage.one_pass(), stage.one_pass())
    assert len(host.asked) == 2
    assert (await stage.state())._mapping["keys"] is None


async def test_keys_that_are_too_old_to_tell_by_are_wished_anew(stage: Stage, host: KeyHost) -> None:
    await stage.one_pass()
    forger = Ed25519PrivateKey.generate()
    assert await stage.deliver(forger) == 401
    await stage.let_pass(2 * MINUTE)
    assert await stage.deliver(host.signers[0]) == 200
    assert (await stage.state()).keys_wanted_at is None
    assert await stage.deliver(forger) == 503  # it may be signed with a key that is newer than ours
    assert (await stage.state()).keys_wanted_at is not None


async def test_keys_are_renewed_ahead_of_time(stage: Stage, host: KeyHost) -> None:
    await stage.one_pass()
    await stage.let_pass(timedelta(hours=7))
    await stage.one_pass()
    assert len(host.asked) == 2


async def test_the_host_of_the_keys_is_never_shown_ours(stage: Stage, host: KeyHost) -> None:
    await stage.one_pass()
    assert API_KEY not in json.dumps([headers for _, headers in host.asked])
    pub = stage.config.sources["pub"]
    told = pub.model_copy(update={"options": {"jwks": f"{host.url}/jwks.json?key={API_KEY}"}})
    stage.config = stage.config.model_copy(update={"sources": {"pub": told}})
    await stage.let_pass(timedelta(hours=7))
    await stage.one_pass()
    assert len(host.asked) == 1


async def test_a_database_that_hangs_makes_a_signed_delivery_wait_no_longer_than_others(
    database: Database, database_url: str, host: KeyHost
) -> None:
    on = await Database.open(database_url, pool_size=1)
    try:
        async with staged(database, database_url, host, on=on) as stage, on.read():  # its one reader is taken
            began = time.monotonic()
            assert await stage.deliver(host.signers[0]) == 503
            assert time.monotonic() - began < 2.5
    finally:
        await on.close()
