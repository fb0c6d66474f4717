"""Outputs copied before upstream deletes them: the same bytes, once, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from receiver.addresses import ForbiddenAddress
from receiver.ledger.collected import collected
from receiver.ledger.tables import blobs, workflows
from receiver.shelves import shelf_of
from tests.reconciler.files import FileServer, collecting, files_served, hurry, one_pass, row_of, shows, some_bytes
from tests.reconciler.world import Upstream, World, document, image, until
from tests.staging.bucket import Bucket

BYTES = some_bytes(3_000_000)


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with files_served() as server:
        server.files["wf.png"] = BYTES
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "copies"


@pytest.fixture
def world(make_world: Callable[..., World], upstream: Upstream, folder: Path) -> World:
    return make_world(upstream.base_url, *collecting(folder))


async def copied(world: World, folder: Path, data: bytes = BYTES, name: str = "wf") -> None:
    """Assert that a file is kept, is what it should be, and that nothing is left over."""
    row = await row_of(world, name)
    assert (row.state, row.error, row.due_at, row.leased_until) == ("kept", None, None, None)
    assert (row.size, row.sha256) == (len(data), sha256(data).hexdigest())
    assert (folder / row.place).read_bytes() == data
    assert not list((folder / ".unfinished").iterdir())


async def test_an_output_is_copied_once_its_workflow_has_ended(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    report = await one_pass(world)
    assert report.counts["copied"] == 1
    await copied(world, folder)
    row = await row_of(world)
    assert row.type == "image/png"
    assert row.place.startswith("civitai/wf/")
    await one_pass(world)
    (asked,) = files.asked
    assert "authorization" not in asked  # the key is for upstream alone


async def test_nothing_is_copied_of_a_source_that_does_not_say_so(
    make_world: Callable[..., World], upstream: Upstream, files: FileServer
) -> None:
    world = make_world(upstream.base_url)
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    await one_pass(world)
    assert (await world.rows(collected), files.asked) == ([], [])


async def test_a_url_from_an_unconfirmed_delivery_is_not_fetched(
    world: World, upstream: Upstream, files: FileServer
) -> None:
    upstream.answers["/wf"] = (503, {"title": "Busy"})
    shown = image("wf.png", files.url("wf.png"), datetime.now(UTC) + timedelta(hours=1))
    step = {"name": "$0", "status": "succeeded", "output": {"images": [shown]}}
    await world.deliver("wf", "succeeded", details={"createdAt": datetime.now(UTC).isoformat(), "steps": [step]})
    await one_pass(world)
    assert (await world.rows(collected), files.asked) == ([], [])


async def test_a_copy_that_breaks_off_goes_on_where_it_was(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    files.breaks_after, files.breaks = 1_000_000, 2
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    for _ in range(3):
        await one_pass(world)
        await hurry(world)
    await copied(world, folder)
    assert [one.get("range") for one in files.asked] == [None, "bytes=1000000-", "bytes=2000000-"]


@pytest.mark.parametrize("changed", ["other bytes", "weak validator", "no ranges", "other range"])
async def test_a_file_that_may_have_changed_meanwhile_is_copied_anew(
    world: World, upstream: Upstream, files: FileServer, folder: Path, changed: str
) -> None:
    if changed == "weak validator":
        files.headers["etag"] = 'W/"x"'
    files.breaks_after, files.breaks = 1_000_000, 1
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    await one_pass(world)
    data = BYTES
    if changed == "other bytes":
        data = files.files["wf.png"] = some_bytes(2_500_000, "b")
    if changed == "no ranges":
        files.ranges = False
    if changed == "other range":
        files.refuses = [(206, BYTES[:10])]
    for _ in range(2):
        await hurry(world)
        await one_pass(world)
    await copied(world, folder, data)


async def test_a_pass_whose_time_is_over_leaves_a_copy_to_the_next(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    files.gate = asyncio.Event()
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    report = await one_pass(world, budget=timedelta(seconds=2))
    assert report.outcome == "budget"
    row = await row_of(world)
    assert (row.state, row.tries, row.leased_until) == ("due", 0, None)
    files.gate.set()
    files.gate = None
    await one_pass(world)
    await copied(world, folder)
    assert files.asked[1]["range"] != "bytes=0-"


async def test_a_url_that_has_expired_is_renewed_before_it_is_fetched(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    signed = iter(range(1, 100))
    shows(upstream, lambda: files.url("wf.png", f"sig={next(signed)}"))
    await world.track("wf")
    files.gate = asyncio.Event()  # nothing comes before its URL is old
    await one_pass(world, budget=timedelta(seconds=1))
    files.asked.clear()
    files.gate.set()
    files.gate = None
    await world.let_pass(timedelta(hours=5))  # long after keep_fresh
    await hurry(world)
    await one_pass(world)
    assert await world.rows(collected)
    await hurry(world)
    await one_pass(world)
    await copied(world, folder)
    assert [one["query"] for one in files.asked] == ["sig=2"]
    assert (await world.check("wf")).memory.wanted_at is None  # on the lowest lane: nobody wished for it


@pytest.mark.parametrize(
    ("said", "words"), [(b"Request has expired", "fresh one"), (b"Mature content is withheld.", "answered 403")]
)
async def test_a_refusal_for_time_is_told_from_a_block(
    world: World, upstream: Upstream, files: FileServer, folder: Path, said: bytes, words: str
) -> None:
    files.refuses = [(403, said)]
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    await one_pass(world)
    assert words in (await row_of(world)).error
    files.refuses = [(403, said)] * 10
    for _ in range(8):
        await hurry(world)
        await one_pass(world)
    blocked = (await row_of(world)).state == "failed"
    assert blocked is (words != "fresh one") or "blocked (403)" in (await row_of(world)).error


@pytest.mark.parametrize("way", ["said", "unsaid", "compressed"])
async def test_what_is_too_large_or_not_as_it_is_is_a_persons_business_at_once(
    make_world: Callable[..., World], upstream: Upstream, files: FileServer, folder: Path, way: str
) -> None:
    world = make_world(upstream.base_url, *collecting(folder, 'largest = "2 MiB"'))
    files.files["wf.png"] = BYTES if way != "compressed" else b"small"
    if way == "compressed":
        files.headers["content-encoding"] = "gzip"
    files.says_length = way != "unsaid"
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    report = await one_pass(world)
    assert report.counts["copies_failed"] == 1
    row = await row_of(world)
    assert (row.state, row.due_at) == ("failed", None)
    assert "packs" in row.error if way == "compressed" else "2097152" in row.error
    assert not list((folder / ".unfinished").iterdir())
    assert await world.open_attention() == ["uncollected"]
    await world.want("wf")
    await one_pass(world)
    assert await world.open_attention() == ["uncollected"]  # a look changes nothing about it
    (told,) = await world.rows_of_attention()
    assert row.error in told.note


async def test_a_file_that_is_gone_is_given_up(world: World, upstream: Upstream, files: FileServer) -> None:
    del files.files["wf.png"]
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    for _ in range(6):
        await one_pass(world)
        await hurry(world)
    row = await row_of(world)
    assert (row.state, row.tries) == ("failed", 4)
    assert "no such file" in row.error


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/x", "https://evil.example/x", "http://10.0.0.7/x", "file:///x"]
)
async def test_nothing_is_fetched_from_where_upstreams_files_do_not_lie(
    world: World, upstream: Upstream, files: FileServer, url: str
) -> None:
    shows(upstream, url)
    await world.track("wf")
    await one_pass(world)
    rows = await world.rows(collected)
    assert all(row.state == "failed" and ForbiddenAddress.__name__ not in row.error for row in rows)
    assert rows or url.startswith("file")


def put_in_the_way(folder: Path, *, away: bool = False) -> None:
    folder.unlink() if away else folder.write_text("in the way")


async def test_a_folder_that_cannot_be_written_to_costs_no_file_its_tries(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    put_in_the_way(folder)
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    await one_pass(world)
    row = await row_of(world)
    assert (row.state, row.tries) == ("due", 0)
    (told,) = await world.rows_of_attention()
    assert (told.scope, told.kind, told.closed_at) == ("source", "uncollected", None)
    assert str(folder) in told.note
    put_in_the_way(folder, away=True)
    await hurry(world)
    await one_pass(world)
    await copied(world, folder)
    assert await world.open_attention() == []


async def test_what_has_been_copied_is_nobodys_business(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    until_then = datetime.now(UTC) + timedelta(hours=1)
    shown = image("wf.png", files.url("wf.png"), until_then) | {"mediaExpiresAt": until_then.isoformat()}
    upstream.answers["/wf"] = (200, document("wf", output={"images": [shown]}))
    files.refuses = [(500, b"")]
    await world.track("wf")
    await one_pass(world)
    async with world.database.write() as connection:  # it ended long ago, and upstream will delete it in a moment
        soon, ended = datetime.now(UTC) + timedelta(minutes=5), datetime.now(UTC) - timedelta(hours=2)
        await connection.execute(blobs.update().values(media_expires_at=soon))
        await connection.execute(workflows.update().values(finished_at=ended, version=workflows.c.version + 1))
    await world.want("wf")
    upstream.answers["/wf"] = (200, document("wf", output=None))
    await one_pass(world)
    assert await world.open_attention() == ["uncollected"]
    await hurry(world)
    await one_pass(world)
    await copied(world, folder)
    assert await world.open_attention() == []
    asked = upstream.asked("wf")
    await world.let_pass(timedelta(minutes=6))
    await one_pass(world)
    assert upstream.asked("wf") == asked


async def test_files_known_before_are_copied_when_copying_is_switched_on(
    make_world: Callable[..., World], upstream: Upstream, files: FileServer, folder: Path
) -> None:
    before = make_world(upstream.base_url)
    for name in ("wf", "wf2", "wf3"):
        shows(upstream, files.url("wf.png"), name)
        await before.track(name)
    await one_pass(before)
    assert await before.rows(collected) == []
    world = make_world(upstream.base_url, *collecting(folder))
    await one_pass(world)
    await one_pass(world)
    assert len(await world.rows(collected)) == 3
    for name in ("wf", "wf2", "wf3"):
        await copied(world, folder, name=name)
    assert [one.collecting_since is None for one in await world.rows_of_sources()] == [False]
    await one_pass(make_world(upstream.base_url, *collecting(folder)))
    assert len(files.asked) == 3


async def test_a_forgotten_workflow_takes_its_copies_along(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    await one_pass(world)
    place = folder / (await row_of(world)).place
    assert place.exists()
    async with world.database.write() as connection:
        await connection.execute(workflows.delete())
    await one_pass(world)
    assert await world.rows(collected) == []
    assert not place.parent.exists()


async def test_a_copy_whose_lease_went_to_somebody_else_is_not_put_anywhere(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    files.gate = asyncio.Event()
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    first = asyncio.create_task(one_pass(world))
    await until(lambda: files.asked)
    await asyncio.sleep(0.2)
    await hurry(world)  # as after its lease: another pass may take it
    data = files.files["wf.png"] = some_bytes(2_000_000, "other")
    gate, files.gate = files.gate, None
    await one_pass(world)
    await copied_beside(world, folder, data)
    gate.set()
    report = await first
    assert report.counts["copied"] == 0
    await copied_beside(world, folder, data)


def kept_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and ".unfinished" not in file.parts]


async def copied_beside(world: World, folder: Path, data: bytes) -> None:
    """As `copied`, while another process still writes to its own part."""
    row = await row_of(world)
    assert (row.state, row.sha256) == ("kept", sha256(data).hexdigest())
    assert [file.read_bytes() for file in kept_in(folder)] == [data]


async def test_a_copy_that_was_put_there_by_somebody_who_died_then_is_not_fetched_again(
    world: World, upstream: Upstream, files: FileServer, folder: Path
) -> None:
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    await one_pass(world)
    async with world.database.write() as connection:  # as if it had not come to say so
        await connection.execute(
            collected.update().values(state="due", due_at=datetime.now(UTC) - timedelta(seconds=1), kept_at=None)
        )
    await one_pass(world)
    await copied(world, folder)
    assert len(files.asked) == 1


async def test_copies_go_into_a_bucket_whole_and_leave_nothing_here(
    make_world: Callable[..., World], upstream: Upstream, files: FileServer, folder: Path, bucket: Bucket
) -> None:
    world = make_world(upstream.base_url, *collecting(folder, *bucket.lines))
    files.breaks_after, files.breaks = 1_000_000, 1
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    for _ in range(2):
        await one_pass(world)
        await hurry(world)
    row = await row_of(world)
    assert (row.state, row.sha256) == ("kept", sha256(BYTES).hexdigest())
    assert bucket.names() == [f"some/where/{row.place}"]
    shelf = shelf_of(world.config.collect)
    assert shelf is not None
    assert b"".join([piece async for piece in shelf.read(row.place, 0, row.size)]) == BYTES
    assert kept_in(folder) == []
