"""Links to one file: for whoever has them, for a while, and for that file alone. And who wrote what."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from receiver.config import Config
from receiver.ledger import audit, shares, tokens
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.web.answers import clock
from tests.web.asking import IMAGE, Api, Upstream, document, make_token, path_of
from tests.web.client import Answer, ask
from tests.web.conftest import Running

URL = "https://orchestration.civitai.com/v2/consumer/blobs/x.jpeg?sig=abc"


@pytest.fixture
async def api(receiver: Running, database: Database, config: Config) -> Api:
    made = Api(receiver, await make_token(database, "write"))
    await made.deliver("wf-1", "processing")
    await Upstream(database, config).settle("wf-1", document("wf-1", url=URL))
    return made


async def shared(api: Api, **told: int) -> str:
    answer = await api.post(f"/v1/blobs/civ/{IMAGE}/share", told)
    assert answer.status == 201, answer.body
    path: str = answer.json["path"]
    return path


async def opened(api: Api, path: str) -> Answer:
    return await ask("GET", api.running.url + path)


async def test_a_shared_link_opens_the_file_without_a_token(api: Api) -> None:
    answer = await opened(api, await shared(api, seconds=60))
    assert (answer.status, answer.headers["location"]) == (302, URL)
    assert (await opened(api, f"/blobs/civ/{IMAGE}")).status == 401


async def test_a_link_stops_working_when_its_time_is_over(api: Api, database: Database) -> None:
    path = await shared(api, seconds=60)
    query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
    async with database.read() as connection:
        for later, valid in ((0, True), (58, True), (61, False)):
            moment = clock() + timedelta(seconds=later)
            assert await shares.is_valid(connection, "civ", IMAGE, **query, now=moment) is valid
    async with database.read() as connection:
        old = await shares.link(connection, "civ", IMAGE, "tests-write", clock() - timedelta(seconds=1))
    assert old is not None
    answer = await opened(api, old)
    assert (answer.status, answer.json["type"]) == (403, "/problems/bad-link")
    page = await ask("GET", api.running.url + old, accept="text/html")
    assert (page.status, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "its time is over" in page.body.decode()
    assert "ask whoever sent it" in page.body.decode()
    answer = await ask("GET", f"{api.running.url}/blobs/civ/{IMAGE}", accept="text/html")
    assert (answer.status, answer.headers["location"]) == (303, f"/login?next=%2Fblobs%2Fciv%2F{IMAGE}")


@pytest.mark.parametrize(
    "change", [{"until": "9999999999"}, {"by": "tests-read"}, {"by": "nobody"}, {"proof": "0" * 64}, {"proof": ""},
               {"until": "x"}, {"until": "٣"}, {"by": "\0"}, {"proof": "é"}, {"until": "9" * 400}],
)  # fmt: skip
async def test_a_link_that_was_changed_opens_nothing(api: Api, database: Database, change: dict[str, str]) -> None:
    await make_token(database, "read")
    query = {name: values[0] for name, values in parse_qs(urlsplit(await shared(api)).query).items()}
    answer = await opened(api, f"/blobs/civ/{IMAGE}?{urlencode({**query, **change})}")
    assert answer.status == 403


async def test_a_link_opens_its_own_file_alone_and_nothing_else(api: Api) -> None:
    query = urlsplit(await shared(api)).query
    for path in ("/blobs/civ/other", f"/blobs/hinted/{IMAGE}"):
        assert (await opened(api, f"{path}?{query}")).status == 403
    for path in (f"/v1/blobs/civ/{IMAGE}", "/v1/workflows", path_of("wf-1")):
        assert (await opened(api, f"{path}?{query}")).status == 401


async def test_a_link_ends_with_the_token_it_was_made_with(api: Api, database: Database) -> None:
    path = await shared(api)
    async with database.write() as connection:
        await tokens.revoke(connection, "tests-write", await database_now(connection))
    assert (await opened(api, path)).status == 403


@pytest.mark.parametrize("told", [{"seconds": 0}, {"seconds": 10**9}, {"seconds": "60"}, {"seconds": True}, {"a": 1}])
async def test_what_cannot_be_shared_is_a_clear_problem(api: Api, told: dict[str, object]) -> None:
    assert (await api.post(f"/v1/blobs/civ/{IMAGE}/share", told)).json["type"] == "/problems/bad-share"
    assert (await api.post("/v1/blobs/civ/nobody/share", {})).json["type"] == "/problems/unknown-blob"


async def test_every_write_by_a_person_leaves_a_line(api: Api, database: Database) -> None:
    told = {"source": "civ", "id": "wf-2"}
    await api.post("/v1/workflows", told)
    await api.post("/v1/workflows", told)
    await api.post(f"{path_of('wf-2')}/refetch")
    await api.post(f"{path_of('wf-2')}/refetch", wait=0)
    await shared(api)
    await api.post(f"{path_of('nobody')}/refetch", wait=0)
    async with database.read() as connection:
        lines = await audit.newest(connection)
    assert [(one["what"], one["subject"]) for one in lines] == [
        ("share", IMAGE), ("refetch", "wf-2"), ("refetch", "wf-2"), ("track", "wf-2"),
    ]  # fmt: skip
    assert {one["who"] for one in lines} == {"tests-write"}
