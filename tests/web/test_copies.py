"""Serving what has been copied: the same bytes, in parts too, and never as something that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from receiver.config import load_config
from receiver.ledger import copies
from receiver.ledger.collected import collected
from receiver.ledger.database import Database, now
from receiver.ledger.tables import blobs
from receiver.redaction import Redactor
from receiver.shelves import PIECE, Shelf
from receiver.web.app import build_app
from receiver.web.server import address_of, bind, running
from tests.web.asking import IMAGE, Api, Upstream, document, make_token
from tests.web.client import Answer, ask
from tests.web.conftest import TOKEN, Running

BYTES = bytes(range(256)) * (PIECE // 100)
BLOB = f"/blobs/civ/{IMAGE}"
URL = "https://orchestration.civitai.com/v2/consumer/blobs/x.jpeg?sig=abc"


@dataclass
class Kept:
    """A receiver with one copy on its shelf."""

    api: Api
    database: Database
    shelf: Shelf
    place: str = "civ/wf-1/copy"

    async def get(self, method: str = "GET", **headers: str) -> Answer:
        token = {"authorization": f"Bearer {self.api.token}"}
        return await ask(method, self.api.running.url + BLOB, b"", **token, **headers)

    async def set(self, **values: Any) -> None:
        async with self.database.write() as connection:
            await connection.execute(collected.update().values(values))


@pytest.fixture
async def kept(
    request: pytest.FixtureRequest, database: Database, database_url: str, tmp_path: Path
) -> AsyncIterator[Kept]:
    lines = [
        "[database]", f'url = "{database_url}"', "[sources.civ]", 'provider = "civitai"', "collect = true",
        'api_key = "api-key-of-the-tests"', f'hook_token = "{TOKEN}"', "[collect]", f'folder = "{tmp_path / "here"}"',
    ]  # fmt: skip
    if "bucket" in request.fixturenames:
        lines += request.getfixturevalue("bucket").lines
    (tmp_path / "h.toml").write_text("\n".join(lines))
    config = load_config(tmp_path / "h.toml", {})
    app = build_app(config, database, Redactor(config.secret_values()))
    sock = bind("127.0.0.1", 0)
    url = address_of(sock)
    async with running(app, sock) as server:
        api = Api(Running(url, app.state.site, server), await make_token(database, "read"))
        upstream = Upstream(database, config)
        await api.deliver("wf-1", "succeeded")
        await upstream.settle("wf-1", document("wf-1", url=URL))
        shelf = app.state.site.shelf
        await put(shelf, "civ/wf-1/copy", BYTES)
        found = Kept(api, database, shelf)
        facts = {"place": found.place, "size": len(BYTES), "sha256": sha256(BYTES).hexdigest(), "type": "image/jpeg"}
        async with database.write() as connection:
            await connection.execute(
                collected.update().values(state="kept", due_at=None, kept_at=await now(connection), **facts)
            )
        yield found


async def put(shelf: Shelf, place: str, data: bytes) -> None:
    shelf.unfinished.mkdir(parents=True, exist_ok=True)
    (shelf.unfinished / "x").write_bytes(data)
    await shelf.keep(shelf.unfinished / "x", place, "image/jpeg")


async def test_a_copy_is_served_as_it_is_and_fenced_in(kept: Kept) -> None:
    answer = await kept.get()
    assert (answer.status, answer.body) == (200, BYTES)
    assert answer.headers["content-length"] == str(len(BYTES))
    assert answer.headers["etag"] == f'"{sha256(BYTES).hexdigest()}"'
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert "private" in answer.headers["cache-control"]
    head = await kept.get("HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BYTES)))


@pytest.mark.usefixtures("bucket")
async def test_a_copy_in_a_bucket_is_served_the_same(kept: Kept) -> None:
    assert (await kept.get()).body == BYTES
    assert (await kept.get(range=f"bytes={PIECE}-{PIECE + 9}")).body == BYTES[PIECE : PIECE + 10]
    await kept.shelf.remove(kept.place)
    assert (await kept.get()).status == 302


async def test_what_is_known_of_a_file_tells_of_its_copy(kept: Kept) -> None:
    told = (await kept.api.get(f"/v1{BLOB}")).json["collected"]
    assert (told["state"], told["size"], told["type"]) == ("kept", len(BYTES), "image/jpeg")
    assert told["sha256"] == sha256(BYTES).hexdigest()
    assert (told["error"], told["kept_at"] is None) == (None, False)


async def test_a_copy_needs_a_token_as_everything_does(kept: Kept) -> None:
    assert (await ask("GET", kept.api.running.url + BLOB)).status == 401


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=5-", 5, None), ("bytes=-7", -7, None),
        (f"bytes=-{10**12}", 0, None), (f"bytes=3-{10**14}", 3, None), (f"bytes={PIECE}-{PIECE}", PIECE, PIECE + 1),
    ],
)  # fmt: skip
async def test_a_part_is_that_part(kept: Kept, asked: str, start: int, end: int | None) -> None:
    answer = await kept.get(range=asked)
    wanted = BYTES[start:end]
    assert answer.body == wanted
    first = start % len(BYTES)
    if len(wanted) < len(BYTES):
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(wanted) - 1}/{len(BYTES)}"
    assert answer.headers["content-length"] == str(len(wanted))


@pytest.mark.parametrize(
    "asked", ["bytes=5-3", "bytes=0-1,4-5", "items=0-1", "bytes=a-b", "bytes=-", "bytes=" + "9" * 99]
)
async def test_a_range_that_is_none_is_passed_over(kept: Kept, asked: str) -> None:
    answer = await kept.get(range=asked)
    assert (answer.status, answer.body) == (200, BYTES)


@pytest.mark.parametrize("asked", [f"bytes={len(BYTES)}-", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416(kept: Kept, asked: str) -> None:
    answer = await kept.get(range=asked)
    assert (answer.status, answer.body, answer.headers["content-range"]) == (416, b"", f"bytes */{len(BYTES)}")


async def test_who_has_it_already_is_told_so(kept: Kept) -> None:
    etag = (await kept.get("HEAD")).headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        answer = await kept.get(**{"if-none-match": known})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert (await kept.get(**{"if-none-match": '"other"'})).status == 200
    assert (await kept.get(**{"if-range": etag, "range": "bytes=0-1"})).status == 206
    assert (await kept.get(**{"if-range": '"other"', "range": "bytes=0-1"})).body == BYTES


@pytest.mark.parametrize(
    "stated", ["text/html", "image/svg+xml", "application/pdf", "application/xhtml+xml", "text/javascript", "", None,
               "image/jpeg\r\nx: y", "multipart/x-mixed-replace"],
)  # fmt: skip
async def test_what_could_run_is_only_ever_saved(kept: Kept, stated: str | None) -> None:
    await kept.set(type=stated)
    answer = await kept.get()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "x" not in answer.headers


async def test_a_copy_is_served_although_upstream_no_longer_has_the_file(kept: Kept) -> None:
    async with kept.database.write() as connection:
        await connection.execute(blobs.update().values(gone_at=await now(connection), available=False))
    assert (await kept.get()).body == BYTES


async def test_a_copy_that_is_lost_is_had_from_upstream(kept: Kept) -> None:
    await kept.shelf.remove(kept.place)
    answer = await kept.get()
    assert (answer.status, answer.headers["location"]) == (302, URL)


async def test_what_is_not_copied_yet_is_had_from_upstream(kept: Kept) -> None:
    await kept.set(state="due")
    assert (await kept.get()).headers["location"] == URL


async def test_a_copy_of_an_earlier_run_is_not_this_runs(kept: Kept) -> None:
    await kept.set(run=0)
    async with kept.database.read() as connection:
        assert await copies.kept(connection, "civ", IMAGE) is None
    assert (await kept.get()).status == 302
