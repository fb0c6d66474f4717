"""What the pages are made of comes from us alone, is what was taken in, and is in the package."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from receiver.web.pages.statics import statics
from tests.web.browsing import Browser
from tests.web.conftest import Running

VENDOR = Path(__file__).parents[2] / "receiver" / "web" / "static" / "vendor"
# Files of others, byte for byte as they were published, each with the licence it comes under.
TAKEN_IN = {
    "htmx-2.0.11.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "idiomorph-ext-0.8.0.min.js": "5811b9a7eda14878b7dab4378bf60432e1bb6f11fcfb970cc26540642650181e",
    "uPlot-1.6.32.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot-1.6.32.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
LICENCES = {"htmx": "Zero-Clause BSD", "idiomorph": "Zero-Clause BSD", "uPlot": "The MIT License"}


def test_files_of_others_are_byte_for_byte_what_was_published() -> None:
    assert {path.name: sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.min.*")} == TAKEN_IN


def test_each_of_them_has_its_licence_beside_it() -> None:
    for name, words in LICENCES.items():
        assert words in (VENDOR / f"{name}.LICENSE.txt").read_text()
    assert all(name.startswith(tuple(LICENCES)) for name in TAKEN_IN)


def test_our_own_scripts_make_no_code_of_texts() -> None:
    for name, one in statics().items():
        if name.endswith(".js") and not name.startswith("vendor/"):
            for word in (b"eval(", b"new Function", b"innerHTML", b"document.write", b"insertAdjacentHTML"):
                assert word not in one.body, name


@pytest.mark.parametrize("name", ["app.js", "base.css", "mark.svg", "vendor/htmx-2.0.11.min.js"])
async def test_a_file_is_kept_for_ever_under_the_name_that_says_what_it_holds(receiver: Running, name: str) -> None:
    browser = Browser(receiver)
    mark = statics()[name].mark
    answer = await browser.get(f"/static/{name}?v={mark}")
    assert (answer.status, answer.body) == (200, statics()[name].body)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await browser.get(f"/static/{name}?v=other")).headers["cache-control"] == "no-cache"
    assert (await browser.get(f"/static/{name}", if_none_match=answer.headers["etag"])).status == 304


@pytest.mark.parametrize("name", ["../pages/login.py", "..%2fapp.py", "%2e%2e/app.py", "", "vendor", "vendor/none.js"])
async def test_nothing_else_is_served_from_there(receiver: Running, name: str) -> None:
    assert (await Browser(receiver).get(f"/static/{name}")).status == 404
