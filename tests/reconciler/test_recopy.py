"""`hookledger recopy`: what was given up is copied after all, once its cause is gone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.reconciler.files import FileServer, collecting, files_served, one_pass, row_of, shows, some_bytes
from tests.reconciler.test_commands import hookledger
from tests.reconciler.world import Upstream, World

BYTES = some_bytes(50_000)


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with files_served() as server:
        yield server


async def test_a_copy_that_was_given_up_is_made_when_it_is_asked_for_again(
    make_world: Callable[..., World], upstream: Upstream, files: FileServer, tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    world = make_world(upstream.base_url, *collecting(folder, 'largest = "10 KiB"'))
    files.files["wf.png"] = BYTES
    shows(upstream, files.url("wf.png"))
    await world.track("wf")
    await one_pass(world)
    assert (await row_of(world)).state == "failed"
    assert await world.open_attention() == ["uncollected"]
    assert (await hookledger(world, "recopy", "civitai", "another"))[1] == "0 to be copied again\n"
    assert (await row_of(world)).state == "failed"
    file = world.config.file
    assert file is not None
    file.write_text(file.read_text().replace("10 KiB", "1 MiB"))
    code, out, err = await hookledger(world, "recopy", "civitai", "--json")
    assert code == 0, err
    assert len(json.loads(out)["queued"]) == 1
    code, _, err = await hookledger(world, "reconcile")
    assert code == 0, err
    row = await row_of(world)
    assert (row.state, row.error) == ("kept", None)
    assert (folder / row.place).read_bytes() == BYTES
    assert await world.open_attention() == []


async def test_a_source_that_copies_nothing_and_an_id_that_is_none_are_one_clear_line(world: World) -> None:
    for args, said in ((("civitai",), "set collect = true"), (("civitai", "a/b"), "ID must be"), (("x",), "no source")):
        code, _, err = await hookledger(world, "recopy", *args)
        assert code == 2
        assert said in err
        assert "Traceback" not in err
