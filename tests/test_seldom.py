"""What may happen a thousand times a second is told once a second, with how often it happened."""

from __future__ import annotations

import time

import pytest

from receiver.seldom import EVERY, Seldom
from tests.test_logs import Lines, lines

__all__ = ["lines"]


@pytest.mark.usefixtures("lines")
def test_one_line_a_second_tells_of_a_flood(lines: Lines) -> None:
    failed = Seldom("commit failed", level="error")
    for _ in range(1000):
        failed.log(error=RuntimeError("away"))
    told = lines.one()
    assert (told["event"], told["level"], told["error"]["message"]) == ("commit failed", "error", "away")
    assert "more" not in told
    time.sleep(EVERY)
    failed.log(error=RuntimeError("still away"))
    assert [line.get("more") for line in lines.all()] == [None, 999]


@pytest.mark.usefixtures("lines")
def test_two_kinds_of_events_do_not_silence_each_other(lines: Lines) -> None:
    Seldom("poisoned").log(source="a")
    Seldom("commit failed").log()
    assert [line["event"] for line in lines.all()] == ["poisoned", "commit failed"]
