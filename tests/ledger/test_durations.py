"""What endings teach of when to look. Pure: nothing sleeps, nothing is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from receiver.ledger.durations import MOST_WEIGHT, Durations, Learned, bucket_of, together
from receiver.ledger.merge import new_state
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.records import Trust
from receiver.ledger.schedule import Memory, plan_check
from tests.ledger.histories import at


def learned_from(*seconds: float, missed: float = 0.1) -> Durations:
    known = Durations()
    for one in seconds:
        shown = Durations.of(one)
        shown.told, shown.missed = 1 - missed, missed
        known.add(shown)
    return known


def videos(missed: float = 0.1) -> Durations:
    rng = Random(3)
    return learned_from(*(rng.lognormvariate(0, 0.4) * 180 for _ in range(200)), missed=missed)


def policy(known: Durations | None, **more: object) -> Policy:
    made = replace(Policy(Trust.TOKEN), learned=Learned())
    if known is not None:
        made.learned.refresh({("", ""): known})
    return replace(made, **more)  # type: ignore[arg-type]


def seconds_to(state: WorkflowState, using: Policy) -> float:
    due = plan_check(state, Memory(), using).at
    assert due is not None
    return (due - at(0)).total_seconds()


def test_without_history_upstreams_advice_holds() -> None:
    assert seconds_to(new_state("s", "w", at(0), "track"), policy(None)) == 2
    assert seconds_to(new_state("s", "w", at(0), "track"), policy(learned_from(*[180] * 5))) == 2, "too little is known"


def test_the_first_look_is_not_before_anything_can_have_ended() -> None:
    first = seconds_to(new_state("s", "w", at(0), "track"), policy(videos()))
    assert 60 < first < 180


def test_looks_are_close_where_many_end_and_far_apart_where_few_do() -> None:
    known = videos()
    busy, quiet = known.next_look(170, 0.1), known.next_look(20, 0.1)
    assert busy is not None
    assert quiet is not None
    assert busy < quiet / 2


def test_reliable_webhooks_lengthen_the_polling_and_misses_shorten_it() -> None:
    state = new_state("s", "w", at(0), "track")
    state.news_at = state.asked_at = at(150)
    reliable, not_so = (seconds_to(state, policy(videos(missed))) for missed in (0.001, 0.4))
    assert not_so < reliable
    assert not_so >= 152


def test_what_is_known_never_puts_a_look_off_beyond_four_silences() -> None:
    state = new_state("s", "w", at(0), "track")
    state.news_at = at(1)
    slow = policy(learned_from(*[86_000.0] * 50), silence=timedelta(seconds=100))
    assert seconds_to(state, slow) == 400


def test_looks_that_one_read_answers_for_fall_on_the_same_instants() -> None:
    using = policy(videos(), bulk=50)
    dues = set()
    for second in range(30):
        state = new_state("s", "w", at(0), "track")
        state.news_at = state.asked_at = at(150 + second / 10)
        dues.add(seconds_to(state, using))
    assert len(dues) <= 2


def test_where_silence_is_short_nobody_waits_long_for_company() -> None:
    instants = []
    for silence in (10, 300):
        using = policy(videos(missed=0.001), bulk=50, silence=timedelta(seconds=silence))
        dues = set()
        for second in range(30):
            state = new_state("s", "w", at(0), "track")
            state.news_at = state.asked_at = at(150 + second)
            dues.add(seconds_to(state, using))
        instants.append(len(dues))
    patient, impatient = instants[1], instants[0]
    assert patient <= 2
    assert impatient >= 10


def test_reads_for_many_are_closer_the_more_there_is_to_learn_of() -> None:
    assert together(0.1, 1.0) < together(0.1, 0.1) < together(0.1, 0.01)
    assert together(0.1, 0.1) < together(0.001, 0.1)


def test_the_more_particular_kind_counts_first() -> None:
    learned = Learned()
    learned.refresh({("", ""): videos(), ("m", "videoGen"): learned_from(*[5] * 20), ("", "x"): learned_from(1)})
    assert learned.of("m", "videoGen") is not learned.of("other", "videoGen")
    assert learned.of("other", "x") is learned.of("", ""), "one ending is not enough to say anything"


def test_the_share_that_has_ended_by_then_is_of_those_alive_now() -> None:
    known = learned_from(*([10.0] * 50 + [1000.0] * 50))
    early, late = known.ended_by(0, 30), known.ended_by(30, 60)
    assert early is not None
    assert late is not None
    assert 0.45 < early < 0.55
    assert late < 0.01


@given(
    st.lists(st.floats(0, 1e7), min_size=1, max_size=60), st.floats(0, 1e7), st.floats(0.001, 1.0), st.floats(0.01, 1e4)
)
def test_a_look_is_always_ahead_and_never_nowhere(lasted: list[float], age: float, miss: float, cost: float) -> None:
    known = learned_from(*lasted)
    wait = known.next_look(age, miss, cost)
    assert wait is None or 0 <= wait <= 4e5
    assert known.weight <= MOST_WEIGHT + 1e-6
    assert 0 <= bucket_of(age) <= 70


def test_old_readings_fade() -> None:
    known = learned_from(*[10.0] * 1000)
    known.add(learned_from(*[1000.0] * 400))
    assert known.surviving(100) > known.weight / 3
