"""Each lane gets its share, whatever the others have to do; what one leaves, another takes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from reconciler.lanes import URGENCY, WEIGHTS, Turns


def served(turns: Turns, rounds: int, total: int, lanes: tuple[str, ...]) -> Counter[str]:
    """Let all of these lanes have more to do than can be done, for so many claims."""
    found: Counter[str] = Counter()
    for _ in range(rounds):
        for lane, count in turns.split(total, lanes).items():
            turns.took(lane, count)
            found[lane] += count
    return found


def test_when_all_have_much_to_do_each_gets_its_weight() -> None:
    assert served(Turns(), 10, 10, URGENCY) == {lane: 10 * weight for lane, weight in WEIGHTS.items()}


def test_one_request_at_a_time_is_shared_as_well() -> None:
    assert served(Turns(), 100, 1, URGENCY) == {lane: 10 * weight for lane, weight in WEIGHTS.items()}


def test_what_somebody_waits_for_is_first_among_equals() -> None:
    assert Turns().split(1, URGENCY) == {"interactive": 1, "fresh": 0, "standing": 0, "hints": 0}


def test_a_lane_that_is_alone_gets_everything() -> None:
    assert served(Turns(), 5, 8, ("standing",)) == {"standing": 40}


def test_a_lane_that_had_nothing_to_do_saves_nothing_up() -> None:
    turns = Turns()
    served(turns, 100, 10, ("fresh",))
    found = served(turns, 10, 10, ("fresh", "standing"))
    assert found == {"fresh": 60, "standing": 40}


@given(st.lists(st.tuples(st.integers(1, 20), st.sets(st.sampled_from(URGENCY), min_size=1)), max_size=40))
def test_after_anything_no_lane_starves(history: list[tuple[int, set[str]]]) -> None:
    turns = Turns()
    for total, lanes in history:
        for lane, count in turns.split(total, lanes).items():
            turns.took(lane, count)
    found = served(turns, 40, 1, URGENCY)
    assert sum(found.values()) == 40
    assert all(found[lane] for lane in URGENCY)
