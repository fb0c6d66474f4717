"""Where copies lie: whole or not at all, in a folder as in a bucket."""

from __future__ import annotations

import stat
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.config import load_config
from receiver.shelves import PIECE, FolderShelf, Shelf, ShelfTrouble, place_of, private_folder, shelf_of
from tests.staging.bucket import SECRET_KEY, Bucket

PLACE = "src/wf/0199-abc-a.png"
BYTES = bytes(range(256)) * (PIECE // 128)


@pytest.fixture(params=["folder", "bucket"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    lines = ("[collect]", f'folder = "{tmp_path / "copies"}"')
    if request.param == "bucket":
        lines = (*lines, *request.getfixturevalue("bucket").lines)
    (tmp_path / "h.toml").write_text("\n".join(lines))
    found = shelf_of(load_config(tmp_path / "h.toml", {}).collect)
    assert found is not None
    found.unfinished.mkdir(parents=True)
    return found


def made(shelf: Shelf, data: bytes = BYTES) -> Path:
    file = shelf.unfinished / "x.part"
    file.write_bytes(data)
    return file


async def read(shelf: Shelf, start: int, end: int, place: str = PLACE) -> bytes:
    return b"".join([piece async for piece in shelf.read(place, start, end)])


async def test_what_is_kept_can_be_read_whole_and_in_parts(shelf: Shelf) -> None:
    file = made(shelf)
    assert await shelf.size(PLACE) is None
    await shelf.keep(file, PLACE, "image/png")
    assert not file.exists()
    assert await shelf.size(PLACE) == len(BYTES)
    assert await read(shelf, 0, len(BYTES)) == BYTES
    assert await read(shelf, 100, PIECE + 7) == BYTES[100 : PIECE + 7]
    assert await read(shelf, 5, 5) == b""
    await shelf.remove(PLACE)
    assert await shelf.size(PLACE) is None
    await shelf.remove(PLACE)


async def test_keeping_it_again_is_the_same(shelf: Shelf) -> None:
    for _ in range(2):
        await shelf.keep(made(shelf), PLACE, "image/png")
    assert await read(shelf, 0, len(BYTES)) == BYTES


async def test_an_empty_file_is_a_file(shelf: Shelf) -> None:
    await shelf.keep(made(shelf, b""), PLACE, "image/png")
    assert await shelf.size(PLACE) == 0
    assert await read(shelf, 0, 0) == b""


async def test_a_large_file_goes_in_parts_and_comes_back_the_same(shelf: Shelf) -> None:
    data = BYTES * 24  # beyond what is sent to a bucket in one piece
    await shelf.keep(made(shelf, data), PLACE, "video/mp4")
    back = await read(shelf, 0, len(data))
    assert sha256(back).digest() == sha256(data).digest()


async def test_what_is_not_there_is_trouble_to_read(shelf: Shelf) -> None:
    with pytest.raises(ShelfTrouble):
        await read(shelf, 0, 10)


async def test_what_has_become_shorter_is_trouble_to_read(tmp_path: Path) -> None:
    shelf = FolderShelf(tmp_path)
    shelf.unfinished.mkdir()
    await shelf.keep(made(shelf), PLACE, "image/png")
    (tmp_path / PLACE).write_bytes(b"short")
    with pytest.raises(ShelfTrouble, match="shorter"):
        await read(shelf, 0, len(BYTES))


async def test_a_folder_takes_its_own_away_with_its_last_copy(tmp_path: Path) -> None:
    shelf = FolderShelf(tmp_path)
    shelf.unfinished.mkdir()
    for place in (PLACE, f"{PLACE}2"):
        await shelf.keep(made(shelf), place, "image/png")
    await shelf.remove(PLACE)
    assert (tmp_path / f"{PLACE}2").exists()
    assert not stat.S_IMODE((tmp_path / "src").stat().st_mode) & stat.S_IRWXO
    await shelf.remove(f"{PLACE}2")
    assert not (tmp_path / "src/wf").exists()


async def test_a_bucket_gets_the_type_and_its_trouble_names_no_secret(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_text("\n".join(("[collect]", f'folder = "{tmp_path}"', *bucket.lines)))
    shelf = shelf_of(load_config(tmp_path / "h.toml", {}).collect)
    assert shelf is not None
    await shelf.keep(made(shelf), PLACE, "image/png")
    assert bucket.names() == [f"some/where/{PLACE}"]
    await shelf.remove(PLACE)
    assert bucket.ask("DELETE")[0] == 204
    with pytest.raises(ShelfTrouble) as caught:
        await shelf.keep(made(shelf), PLACE, "image/png")
    assert f"bucket {bucket.name}" in str(caught.value)
    assert SECRET_KEY not in str(caught.value)
    assert made(shelf).exists()  # what could not be put there is still here


@given(st.text(min_size=1, max_size=256), st.text(min_size=1, max_size=256))
def test_no_id_leads_anywhere_else(workflow: str, blob: str) -> None:
    place = place_of("src", workflow, "0199", "f" * 64, blob)
    source, below, name = place.split("/")
    assert source == "src"
    assert not below.startswith(".")
    assert name.startswith("0199-ffffffffffffffff-")
    assert place.isascii()
    assert place.isprintable()
    assert max(len(below), len(name)) < 200


def test_a_folder_among_those_of_others_is_ours_alone_and_found_again(tmp_path: Path) -> None:
    path = private_folder("hookledger-x", tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o755)  # as an earlier version left it
    assert private_folder("hookledger-x", tmp_path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_nothing_is_written_where_somebody_else_was_first(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "hookledger-x").symlink_to(theirs)
    path = private_folder("hookledger-x", tmp_path)
    assert path.resolve().parent == tmp_path.resolve()
    assert path.name != "hookledger-x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
