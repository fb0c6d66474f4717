"""Listings without a date filter: they stop where the window begins, whatever their order, and never go in circles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from receiver.ledger.records import Level, Observation, Reading
from receiver.providers.base import Page, Request, Unreadable
from receiver.providers.windows import Window, paged, windowed

DAY = datetime(2026, 3, 1, tzinfo=UTC)
ASKED = windowed(Request("GET", "https://up.example/list?limit=3"), DAY, DAY + timedelta(days=1))


def at(hours: float | None) -> datetime | None:
    return None if hours is None else DAY + timedelta(hours=hours)


def read(item: Any) -> Reading:
    if item == "bad":
        raise Unreadable("bad")
    name, hours = item
    return Reading(name, (Observation(Level.WORKFLOW, submitted_at=at(hours)),))


def turn(items: Sequence[Any], asked: Request = ASKED, further: dict[str, str] | None = None) -> Page:
    return paged(asked, items, read, {"page": "2"} if further is None else further)


def test_what_is_outside_the_window_is_left_out_and_what_cannot_be_told_is_kept() -> None:
    page = turn([("new", 25), ("last", 24), ("unknown", None), "bad", ("first", 0)])
    assert [reading.workflow_id for reading in page.readings] == ["last", "unknown", "first"]
    assert page.skipped == 1


@pytest.mark.parametrize(
    ("hours", "goes_on"),
    [
        ([23, 12, 1], True),
        ([23, 12, -1], False),
        ([30, 28, 26], True),
        ([-1, -2, -3], False),
        ([-3, -2, -1], True),  # oldest first: the window is still ahead
        ([None, None], True),
        ([5, None, -1], False),
        ([], False),
    ],
)
def test_paging_goes_on_until_a_page_reaches_back_beyond_the_window(hours: list[float | None], goes_on: bool) -> None:
    page = turn([(f"w{n}", each) for n, each in enumerate(hours)])
    assert (page.next is not None) is goes_on


def test_the_window_travels_in_the_fragment_from_page_to_page() -> None:
    first = turn([("a", 12)]).next
    assert first is not None
    assert first.url.startswith("https://up.example/list?limit=3&page=2#")
    second = turn([("b", 11)], first, {"page": "3"}).next
    assert second is not None
    assert urlsplit(second.url).query == "limit=3&page=3"
    assert turn([("c", -1), ("d", 30)], second).readings == ()


def test_the_same_page_again_is_the_last() -> None:
    first = turn([("a", 12), ("b", 11)]).next
    assert first is not None
    assert turn([("a", 12), ("b", 11)], first).next is None


def test_upstream_says_when_there_is_no_more() -> None:
    assert paged(ASKED, [("a", 12)], read, None).next is None


def test_a_request_without_a_window_holds_everything() -> None:
    page = turn([("a", -99), ("b", 99)], Request("GET", "https://up.example/list"))
    assert len(page.readings) == 2
    assert Window().holds(DAY)
