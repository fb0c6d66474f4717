"""Durations, sizes and budgets as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.config.units import budget, duration, duration_text, positive_duration, size, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800), ("2m", 120), ("2min", 120), ("1h30m", 5400), ("1h 30m", 5400), ("90d", 7_776_000), ("0", 0),
        ("1w", 604_800), ("500ms", 0.5), ("2.5s", 2.5), ("2.5", 2.5), ("90", 90), (" 5m ", 300),
        (90, 90), (2.5, 2.5), (0, 0), (timedelta(seconds=3), 3),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_written(text: object, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "5 parsecs", "m5", "5m!", "-5m", "1h-30m", -1, float("nan"), float("inf"),
     1e300, 10**400, True, None, [],
     "9" * 400 + "d", "1e3", "٣m", "5M", "200000d"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match='such as "90s", "2m"'):
        duration(text)


def test_zero_is_refused_where_a_time_must_pass() -> None:
    with pytest.raises(ValueError, match="longer than zero"):
        positive_duration("0")


@given(st.integers(0, 10**11))
def test_a_duration_reads_back_from_its_text(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert duration(duration_text(value)) == value


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("10 MiB", 10 * 2**20),
        ("10MiB", 10 * 2**20),
        ("512 KiB", 2**19),
        ("1 GB", 10**9),
        ("1.5 kB", 1500),
        ("7", 7),
        (7, 7),
    ],
)
def test_a_size_is_read_in_bytes(text: object, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "big", "-1", 0, "0", "10 mb", "10 Mb/s", True, 1.5, None, "9" * 5000])
def test_what_is_no_size_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match='such as "10 MiB"'):
        size(text)


@given(st.integers(1, 2**40))
def test_a_size_reads_back_from_its_text(value: int) -> None:
    assert size(size_text(value)) == value


@pytest.mark.parametrize(
    ("text", "per_second"), [("5/min", 5 / 60), ("10/s", 10), ("100/h", 100 / 3600), ("5 / min", 5 / 60)]
)
def test_a_budget_is_read_as_requests_per_time(text: str, per_second: float) -> None:
    assert budget(text).per_second == pytest.approx(per_second)
    assert budget(str(budget(text))) == budget(text)


@pytest.mark.parametrize("text", ["", "5", "0/s", "5/day", "-5/s", "a/s", 5, None, "9" * 5000 + "/s"])
def test_what_is_no_budget_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match='such as "5/min"'):
        budget(text)
