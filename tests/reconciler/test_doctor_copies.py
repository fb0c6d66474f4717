"""What `hookledger doctor` says of the place for copies."""

from __future__ import annotations

from pathlib import Path

from receiver.config import load_config
from reconciler.examining import examine_shelf

SOURCE = '[sources.it]\nprovider = "civitai"\ntrust = "none"\ncollect = true\n[collect]\n'


async def test_a_place_for_copies_is_tried_out(tmp_path: Path) -> None:
    file, folder = tmp_path / "h.toml", tmp_path / "copies"
    file.write_text(f'{SOURCE}folder = "{folder}"')
    config = load_config(file, {})
    (found,) = await examine_shelf(config)
    assert (found.severity, found.about) == ("ok", "copies")
    assert [one for one in folder.rglob("*") if one.is_file()] == []
    for one in sorted(folder.rglob("*"), reverse=True):
        one.rmdir()
    folder.rmdir()
    folder.write_text("in the way")
    (found,) = await examine_shelf(config)
    assert found.severity == "problem"
    assert str(folder) in found.said
    assert await examine_shelf(load_config(None, {})) == []
