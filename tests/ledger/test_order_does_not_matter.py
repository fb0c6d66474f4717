"""R5: for any order, repetition and loss of a workflow's events, followed by one look: the same settled view."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.ledger.records import Trust
from tests.ledger.histories import (
    Arrival,
    arrivals,
    event_facts,
    histories,
    play,
    settled_view,
)

TRUSTS = st.sampled_from([Trust.SIGNED, Trust.TOKEN])
MANY = settings(max_examples=5000, deadline=None)


def last_look(history, found, wait):
    second = max([history.lasts, *(one.second for one in found)]) + wait
    return Arrival(second, history.look(second), "last-look", look=True)


@MANY
@given(st.data(), histories(), TRUSTS, st.sampled_from([3, 20, 40]))
def test_events_in_any_order_and_number_then_one_look_settle_to_the_same_view(data, history, trust, wait):
    one, other = (arrivals(data.draw, history, looks=False) for _ in range(2))
    second = max(last_look(history, found, wait).second for found in (one, other))
    look = Arrival(second, history.look(second), "last-look", look=True)
    expected = settled_view(play([look], trust))
    assert settled_view(play([*one, look], trust)) == expected
    assert settled_view(play([*other, look], trust)) == expected


@MANY
@given(st.data(), histories(), TRUSTS, st.integers(0, 2**32))
def test_what_only_events_carry_does_not_depend_on_their_order(data, history, trust, seed):
    found = arrivals(data.draw, history, looks=False)
    instants = sorted(one.second for one in found)
    shuffled = Random(seed).sample(found, len(found))
    shuffled = [Arrival(s, one.reading, one.name, again=one.again) for s, one in zip(instants, shuffled, strict=True)]
    look = last_look(history, found, 3)
    assert event_facts(play([*found, look], trust)) == event_facts(play([*shuffled, look], trust))


@MANY
@given(st.data(), histories(), TRUSTS, st.sampled_from([3, 40]))
def test_looks_interleaved_at_random_and_ending_with_one_settle_to_the_same_view(data, history, trust, wait):
    found = arrivals(data.draw, history, looks=True)
    look = last_look(history, found, wait)
    state = play([*found, look], trust)
    assert settled_view(state) == settled_view(play([look], trust))
    for node in [state.node, *state.children()]:
        assert not node.status.terminal or node.confirmed_at or node.inferred_from, "a look confirms what it shows"


@settings(max_examples=1000, deadline=None)
@given(st.data(), histories(), TRUSTS)
def test_a_confirmed_ending_never_changes_whatever_comes(data, history, trust):
    found = arrivals(data.draw, history, looks=True)
    confirmed = {}
    for n in range(len(found) + 1):
        state = play(found[:n], trust)
        for node in [state.node, *state.children()]:
            name = (node.level, node.key)
            if name in confirmed:
                assert node.status is confirmed[name]
            if node.confirmed_at is not None:
                confirmed[name] = node.status
