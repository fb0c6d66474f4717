"""Who may ask, and what is said to those who may not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from receiver.ledger import tokens
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.web.answers import clock
from tests.web.asking import Api, make_token
from tests.web.client import ask
from tests.web.conftest import Receiving, Running

CLOSED = [
    "/v1/workflows",
    "/v1/jobs",
    "/v1/sources",
    "/v1/workflows/civ/x",
    "/v1/blobs/civ/x",
    "/blobs/civ/x",
    "/metrics",
]


@pytest.mark.parametrize("path", CLOSED)
async def test_without_any_token_made_the_answer_says_how_to_make_one(receiver: Running, path: str) -> None:
    answer = await Api(receiver).get(path)
    assert answer.status == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == "/problems/no-token"
    assert "hookledger token create" in answer.json["detail"]


@pytest.mark.parametrize("path", CLOSED)
async def test_without_a_token_nothing_is_told(receiver: Running, database: Database, path: str) -> None:
    await make_token(database, "admin")
    answer = await Api(receiver).get(path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("given", ["", "hl_", "hl_" + "a" * 43, "hl_" + "a" * 44, "x" * 5000, "hl_" + "\xe9" * 43])
async def test_a_token_that_is_none_of_ours_is_refused(receiver: Running, database: Database, given: str) -> None:
    await make_token(database, "admin")
    answer = await ask("GET", f"{receiver.url}/v1/workflows", authorization=f"Bearer {given}")
    assert answer.status == 401
    assert "www-authenticate" in answer.headers
    assert "hl_a" not in answer.body.decode()


async def test_a_token_in_the_query_or_under_another_scheme_opens_nothing(
    receiver: Running, database: Database
) -> None:
    token = await make_token(database, "admin")
    assert (await Api(receiver).get("/v1/workflows", token=token)).status == 401
    assert (await ask("GET", f"{receiver.url}/v1/workflows", authorization=f"Basic {token}")).status == 401


async def test_each_scope_may_do_what_the_smaller_ones_may_and_no_more(receiver: Running, database: Database) -> None:
    for scope, reads, writes in (("read", 200, 403), ("write", 200, 201), ("admin", 200, 201)):
        api = Api(receiver, await make_token(database, scope))
        assert (await api.get("/v1/workflows")).status == reads
        tracked = await api.post("/v1/workflows", {"source": "civ", "id": f"by-{scope}"})
        assert tracked.status == writes
        if writes == 403:
            assert tracked.json["type"] == "/problems/scope"
            assert "write" in tracked.json["detail"]
    assert (await api.get("/v1/workflows/civ/by-read")).status == 404


async def test_a_revoked_token_is_worthless_at_once(receiver: Running, database: Database) -> None:
    await make_token(database, "admin", "other")
    api = Api(receiver, await make_token(database, "read", "mine"))
    assert (await api.get("/v1/workflows")).status == 200
    async with database.write() as connection:
        assert await tokens.revoke(connection, "mine", await database_now(connection))
    answer = await api.get("/v1/workflows")
    assert answer.status == 401
    assert answer.json["type"] == "/problems/wrong-token"


async def test_the_use_of_a_token_is_written_down_at_most_once_a_minute(receiver: Running, database: Database) -> None:
    api = Api(receiver, await make_token(database, "read", "mine"))

    async def last_used() -> tokens.Token:
        async with database.read() as connection:
            return (await tokens.listing(connection))[0]

    assert (await last_used()).last_used_at is None
    await api.get("/v1/workflows")
    first = (await last_used()).last_used_at
    assert first is not None
    await api.get("/v1/workflows")
    assert (await last_used()).last_used_at == first
    async with database.write() as connection:
        earlier = first - timedelta(seconds=61)
        await connection.execute(tokens.tokens.update().values(last_used_at=earlier))
    await api.get("/v1/workflows")
    assert ((await last_used()).last_used_at or earlier) > earlier


async def test_a_token_is_kept_as_a_hash_only(database: Database) -> None:
    token = await make_token(database, "read")
    assert len(token) == 46
    async with database.read() as connection:
        rows = (await connection.execute(tokens.tokens.select())).all()
    assert token not in repr(rows)
    assert token.removeprefix("hl_") not in repr(rows)


async def test_health_needs_no_token_and_says_what_is_silent(receiver: Running) -> None:
    alive = await Api(receiver).get("/healthz")
    assert (alive.status, alive.json["status"]) == (200, "alive")
    now = (await Api(receiver).get("/readyz")).json
    assert now == {"status": "ready", "problem": None}
    receiver.site.beats.beat("reconciler", clock() - timedelta(seconds=61))
    silent = await Api(receiver).get("/healthz")
    assert silent.status == 503
    assert list(silent.json["silent"]) == ["reconciler"]


async def test_not_ready_on_a_schema_of_another_version(receiver: Running, database: Database) -> None:
    async with database.write() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    answer = await Api(receiver).get("/readyz")
    assert answer.status == 503
    assert answer.json["problem"]


async def test_metrics_count_what_is_in_the_ledger(receiver: Running, database: Database) -> None:
    api = Api(receiver, await make_token(database, "read"))
    await api.deliver("wf-1", "processing")
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert 'hookledger_workflows{source="civ",status="processing"} 1.0' in answer.body.decode()
    assert "hookledger_intake_committed 1.0" in answer.body.decode()


async def test_what_is_not_there_is_a_problem_too(receiver: Running, database: Database) -> None:
    api = Api(receiver, await make_token(database, "read"))
    for method, path, status in (("GET", "/v1/nothing", 404), ("DELETE", "/v1/workflows", 405)):
        answer = await api.ask(method, path)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == status


# What nobody but somebody's hand can have written.
BROKEN = "INSERT INTO source_state (source, hint_count, requests) VALUES ('civ', 0, 'no document')"


async def test_an_error_nobody_expected_tells_an_id_and_nothing_of_our_insides(
    receiving: Receiving, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving() as running:
        api = Api(running, await make_token(database, "read"))
        async with database.write() as connection:
            await connection.exec_driver_sql(BROKEN)
        answer = await ask("GET", f"{running.url}/v1/sources", authorization=f"Bearer {api.token}")
    assert answer.status == 500
    assert answer.json["type"] == "/problems/internal"
    for inside in ("no document", "json", "requests", "traceback"):
        assert inside not in answer.body.decode().lower()
    logged = [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "unexpected"]
    assert [fields["id"] for fields in logged] == [answer.json["id"]]
