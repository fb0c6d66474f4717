"""Output files are found wherever a step's output holds them."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest
from civitai_samples import IMAGE, STEP_EVENT, account, encoded, inbound

from receiver.ledger.records import BlobSeen
from receiver.providers import provider_named
from receiver.providers.base import Unreadable


def blobs(output: Any) -> tuple[BlobSeen, ...]:
    event = {**STEP_EVENT, "details": {"output": output}}
    return provider_named("civitai").read(inbound(encoded(event)), account()).blobs


def file(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "video", "id": name, "available": True, "url": f"https://x.civitai.com/{name}", **fields}


def test_files_are_found_in_every_corner_of_an_output_and_named_by_their_place() -> None:
    output = {
        "video": file("a"),
        "additionalVideos": [file("b"), file("c")],
        "draftCache": {"deep": [{"deeper": {"model": file("d", type="model3d", format="glb")}}]},
        "message": "text",
    }
    assert [(blob.id, blob.slot) for blob in blobs(output)] == [
        ("a", "video"),
        ("b", "additionalVideos.0"),
        ("c", "additionalVideos.1"),
        ("d", "draftCache.deep.0.deeper.model"),
    ]
    assert blobs(output)[3].facts == {"format": "glb"}


def test_an_output_that_is_itself_a_file_or_a_list_of_them_is_read() -> None:
    assert [blob.id for blob in blobs(file("a"))] == ["a"]
    assert [(blob.id, blob.slot) for blob in blobs([file("a"), file("b")])] == [("a", "0"), ("b", "1")]


@pytest.mark.parametrize(
    "change", [{"id": 5}, {"id": "../x"}, {"id": None}, {"available": "yes"}, {"available": None}, {"type": None}]
)
def test_an_object_without_id_availability_and_type_is_no_file(change: dict[str, Any]) -> None:
    assert blobs({"image": {**IMAGE, **change}}) == ()


def test_a_preview_is_told_beside_its_image() -> None:
    preview = {"previewUrl": "https://x.civitai.com/p", "previewUrlExpiresAt": "2026-01-21T22:31:41Z"}
    (blob,) = blobs({"images": [{**IMAGE, **preview}]})
    assert blob.facts["preview_url"] == "https://x.civitai.com/p"
    assert blob.facts["preview_url_expires_at"] == "2026-01-21T22:31:41Z"


def test_a_file_that_is_not_available_has_no_url_and_says_why() -> None:
    (blob,) = blobs({"images": [{**IMAGE, "available": False, "url": None, "blockedReason": "minor"}]})
    assert (blob.available, blob.url, blob.url_expires_at, blob.hidden) == (False, None, None, False)
    assert blob.facts["blocked_reason"] == "minor"


def test_the_expiry_in_the_url_stands_in_when_upstream_does_not_say() -> None:
    (blob,) = blobs({"images": [{key: value for key, value in IMAGE.items() if key != "urlExpiresAt"}]})
    assert blob.url_expires_at == datetime(2026, 1, 21, 22, 31, 41, tzinfo=UTC)
    (blob,) = blobs({"images": [{**IMAGE, "urlExpiresAt": 5}]})
    assert blob.url_expires_at == datetime(2026, 1, 21, 22, 31, 41, tzinfo=UTC)


def test_an_available_file_without_url_in_an_event_was_hidden_on_purpose() -> None:
    (blob,) = blobs({"images": [{**IMAGE, "url": None}]})
    assert blob.hidden


def test_a_file_named_twice_counts_once_and_keeps_its_url() -> None:
    (blob,) = blobs({"first": {**IMAGE, "url": None}, "again": IMAGE, "third": {**IMAGE, "url": "https://other"}})
    assert (blob.url, blob.slot) == (IMAGE["url"], "again")


def test_an_output_nested_too_deeply_or_too_wide_is_cut_short() -> None:
    deep: Any = file("deep")
    for _ in range(40):
        deep = {"in": deep}
    assert [blob.id for blob in blobs({"deep": deep, "flat": file("flat")})] == ["flat"]
    assert len(blobs([file(f"f{number}") for number in range(1200)])) == 1000
    (blob,) = blobs({"k" * 300: [file("a")]})
    assert (blob.id, blob.slot) == ("a", None)


def test_a_hostile_output_of_ten_megabytes_costs_little_more_than_reading_it() -> None:
    empties = [[]] * 90_000
    started = monotonic()
    assert [blob.id for blob in blobs({"k" * 5_000_000: [file("a"), *empties]})] == ["a"]
    with pytest.raises(Unreadable, match="objects and lists"):
        blobs([*empties, *empties, file("a")])
    assert monotonic() - started < 20  # copying the long key for each child would take hours
