"""The ledger answers with errors of its own: whoever asks is told that it is not there, and to come again."""

from __future__ import annotations

import base64

import orjson
import pytest

from receiver.ledger.database import Database
from tests.web.asking import Api, make_token, path_of
from tests.web.conftest import Running


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "write"))


async def test_a_table_that_cannot_be_read_is_a_503_and_no_fault_of_ours(api: Api, database: Database) -> None:
    await api.deliver("wf-1", "processing")
    async with database.maintenance() as connection:
        await connection.exec_driver_sql("ALTER TABLE attention RENAME TO away")
    answer = await api.get(path_of("wf-1"))
    assert (answer.status, answer.json["type"]) == (503, "/problems/database")
    assert answer.headers["retry-after"] == "2"


async def test_asking_goes_on_although_the_ledger_cannot_be_written(api: Api, database: Database) -> None:
    await api.deliver("wf-1", "processing")
    refuse = {
        "sqlite": "CREATE TRIGGER full BEFORE UPDATE ON tokens BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        "postgresql": "CREATE RULE refused AS ON UPDATE TO tokens DO INSTEAD SELECT 1/0",
    }
    async with database.maintenance() as connection:
        await connection.exec_driver_sql(refuse[database.dialect])
    assert (await api.get(path_of("wf-1"))).status == 200


ENDS = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+00:00")


@pytest.mark.parametrize("at", ENDS[:2])
async def test_a_cursor_whose_instant_is_in_no_calendar_of_utc_is_not_ours(api: Api, at: str) -> None:
    answer = await api.get("/v1/workflows", cursor=packed("w", at, 1))
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-cursor")


@pytest.mark.parametrize("at", ENDS)
async def test_a_place_in_the_stream_at_the_end_of_time_is_not_ours(api: Api, at: str) -> None:
    answer = await api.get("/v1/stream", after=packed("h", "", "", 1, 1, 1, at))
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-cursor")


def packed(*values: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")
