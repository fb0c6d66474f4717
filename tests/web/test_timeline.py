"""A workflow drawn over time: to scale, except for a wait so long that nothing else could be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.ledger.query_parts import stamp
from receiver.web.pages.timeline import timeline

SEEN = datetime(2026, 1, 21, 22, 30, tzinfo=UTC)


def at(seconds: float) -> str:
    told = stamp(SEEN + timedelta(seconds=seconds))
    assert told is not None
    return told


def workflow(submitted: float | None = None) -> dict[str, Any]:
    told = None if submitted is None else at(submitted)
    step = {"name": "$0", "type": "imageGen", "first_seen_at": at(1)}
    return {"run": 1, "submitted_at": told, "first_seen_at": at(0), "steps": [step], "jobs": []}


def moves(*told: tuple[float, str]) -> list[dict[str, Any]]:
    return [
        {"run": 1, "level": "workflow", "key": "", "kind": "applied", "to": to, "upstream_at": None,
         "recorded_at": at(s)}
        for s, to in told
    ]  # fmt: skip


TOLD = moves((1, "scheduled"), (4, "processing"), (10, "succeeded"))


def test_what_happened_is_drawn_to_scale() -> None:
    (run,) = timeline(workflow(-2), TOLD, SEEN + timedelta(seconds=20))
    lane = run["lanes"][0]
    assert (run["before"], run["origin"]) == (None, at(-2))
    widths = {bar["status"]: bar["width"] for bar in lane["bars"]}
    assert widths["processing"] == pytest.approx(2 * widths["scheduled"], abs=0.1)
    assert run["legend"] == ["unassigned", "scheduled", "processing", "succeeded"]
    assert run["lanes"][1]["what"] == "imageGen"


def test_an_ending_that_was_taken_back_is_still_seen_where_it_was_believed() -> None:
    told = moves((1, "processing"), (4, "failed"), (10, "succeeded"))
    told[-1]["kind"] = "retracted"
    (run,) = timeline(workflow(), told, SEEN + timedelta(seconds=10))
    lane = run["lanes"][0]
    caps = [(bar["status"], bar["x"]) for bar in lane["bars"] if bar["cap"]]
    assert [status for status, _ in caps] == ["failed", "succeeded"]
    assert caps[0][1] < 50 < caps[1][1]
    assert [mark["kind"] for mark in lane["marks"]] == ["retracted"]
    assert {"failed", "succeeded", "retracted"} <= set(run["legend"])


def test_a_submission_long_before_leaves_room_for_what_happened() -> None:
    (run,) = timeline(workflow(-3 * 86400), TOLD, SEEN + timedelta(seconds=10))
    bars = run["lanes"][0]["bars"]
    assert (run["before"], run["origin"]) == ("3 d", at(0))
    assert [bar["status"] for bar in bars] == ["before", "unassigned", "scheduled", "processing", "succeeded"]
    assert bars[0]["width"] < 15
    assert sum(bar["width"] for bar in bars[1:]) > 80
    assert "before 3 d" in run["lanes"][0]["told"]
    assert run["ticks"][0]["label"] == ""
    assert "before" in run["legend"]


@given(
    submitted=st.none() | st.floats(-1e8, 1e5),
    told=st.lists(st.tuples(st.floats(-1e5, 1e6), st.sampled_from(["scheduled", "processing", "failed"])), max_size=6),
    now=st.floats(0, 1e6),
)
def test_nothing_is_drawn_outside_or_from_right_to_left(
    submitted: float | None, told: list[tuple[float, str]], now: float
) -> None:
    for run in timeline(workflow(submitted), moves(*told), SEEN + timedelta(seconds=now)):
        for lane in run["lanes"]:
            for bar in lane["bars"]:
                assert 0 <= bar["x"] <= 100
                assert bar["width"] > 0
            assert [bar["x"] for bar in lane["bars"]] == sorted(bar["x"] for bar in lane["bars"])
        assert all(0 <= tick["at"] <= 100 for tick in run["ticks"])
        assert len(run["ticks"]) <= 8
