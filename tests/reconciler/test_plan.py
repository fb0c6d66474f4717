"""When a claimed check is worked on, and how. Virtual time: nothing sleeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from receiver.ledger.merge import new_state
from receiver.ledger.nodes import Blob, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.records import Trust
from receiver.ledger.schedule import TRIES, Memory, plan_check
from receiver.ledger.states import Status
from reconciler.plan import GiveUp, Plan, Refetch, Relink, Wait, decide

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy(Trust.TOKEN, silence=timedelta(seconds=100), deadline=timedelta(hours=10))


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def alive() -> WorkflowState:
    return new_state("civitai", "wf", START, "track")


def claimed(state: WorkflowState, memory: Memory, now: datetime, policy: Policy = POLICY) -> Plan:
    memory.attempts += 1
    plan = decide(state, memory, now, policy)
    memory.attempts -= isinstance(plan, Wait)
    return plan


def looked_at(state: WorkflowState, lasts: float, deliveries: tuple[float, ...] = ()) -> list[float]:
    """Return the seconds at which a workflow that stays alive is looked at, given when its callbacks come.

    As in the ledger: a delivery leaves a due time that has become too early in its place.
    """
    memory = Memory()
    due = plan_check(state, memory, POLICY).at
    looks: list[float] = []
    for second in range(int(lasts)):
        if float(second) in deliveries:
            state.news_at = at(second)
            planned = plan_check(state, memory, POLICY).at
            due = min(filter(None, (due, planned)))
        if due is None or due > at(second):
            continue
        plan = claimed(state, memory, at(second))
        if isinstance(plan, Wait):
            due = plan.until
            continue
        assert isinstance(plan, Refetch)
        looks.append(second)
        state.asked_at = at(second)
        memory.looks += 1
        memory.attempts = 0
        due = plan_check(state, memory, POLICY).at
    return looks


def test_fresh_work_is_polled_as_upstream_advises() -> None:
    assert looked_at(alive(), 130) == [2, 7, 17, 32, 62, 92, 122]


def test_fresh_work_is_never_asked_about_more_rarely_than_silence_is_asked_after() -> None:
    impatient = replace(POLICY, silence=timedelta(seconds=6))
    state, memory = alive(), Memory(looks=4)
    assert plan_check(state, memory, impatient).at == at(6)
    assert plan_check(state, memory, POLICY).at == at(30)


def test_polling_stops_with_the_first_believed_delivery() -> None:
    assert looked_at(alive(), 200, deliveries=(10.0,)) == [2, 7, 110]


def test_deliveries_push_silence_out() -> None:
    assert looked_at(alive(), 240, deliveries=(1.0, 90.0, 130.0)) == [230]


def test_deliveries_push_silence_out_by_four_silences_at_most() -> None:
    chatter = tuple(float(second) for second in range(1, 1000, 10))
    assert looked_at(alive(), 900, deliveries=chatter) == [400, 800]


def test_the_deadline_ignores_deliveries() -> None:
    policy = Policy(Trust.TOKEN, silence=timedelta(seconds=100), deadline=timedelta(seconds=150))
    state = alive()
    state.news_at = at(149)
    plan = claimed(state, Memory(), at(150), policy)
    assert plan == Refetch(("deadline",))


def test_a_check_whose_plan_lies_ahead_is_put_off_until_then() -> None:
    state = alive()
    state.news_at = at(50)
    plan = claimed(state, Memory(), at(60))
    assert isinstance(plan, Wait)
    assert plan.until == at(150)


def test_a_check_without_a_reason_waits_for_ever() -> None:
    state = alive()
    state.node.status, state.node.finished_at, state.node.confirmed_at = Status.SUCCEEDED, at(5), at(5)
    plan = claimed(state, Memory(), at(60))
    assert isinstance(plan, Wait)
    assert plan.until is None


def test_tries_that_crashed_us_count_and_end_the_round() -> None:
    assert claimed(alive(), Memory(attempts=TRIES - 1), at(10)) == Refetch(("fresh",))
    assert claimed(alive(), Memory(attempts=TRIES), at(10)) == GiveUp("unreachable")


def test_within_a_round_even_a_wish_waits_as_long_as_upstream_asked() -> None:
    memory = Memory(wanted_at=at(11), retry_at=at(30), attempts=1)
    plan = claimed(alive(), memory, at(12))
    assert isinstance(plan, Wait)
    assert plan.until == at(30)


def test_a_wish_does_not_wait_a_day_for_the_next_round() -> None:
    memory = Memory(wanted_at=at(11), retry_at=at(86400), misses=3)
    assert plan_check(alive(), memory, POLICY).at == at(11)
    assert isinstance(claimed(alive(), memory, at(12)), Refetch)


def test_looking_at_everything_open_asks_before_it_is_due_and_leaves_the_settled_alone() -> None:
    assert isinstance(decide(alive(), Memory(attempts=1), at(0), POLICY, at_once=True), Refetch)
    ended = alive()
    ended.node.status, ended.node.finished_at = Status.SUCCEEDED, at(5)
    assert isinstance(decide(ended, Memory(attempts=1), at(5), POLICY, at_once=True), Refetch)
    ended.node.confirmed_at = at(5)
    assert isinstance(decide(ended, Memory(attempts=1), at(5), POLICY, at_once=True), Wait)


def with_blob(**more: object) -> WorkflowState:
    """A workflow that ended at second 0 and was seen then, with a file whose URL lives 300 s: it is due at 200."""
    state = alive()
    state.node.status, state.node.finished_at, state.node.confirmed_at = Status.SUCCEEDED, at(0), at(0)
    state.asked_at = at(0)
    blob = Blob("b", available=True, url="https://x.test/b?sig=1", url_seen_at=at(0), url_expires_at=at(300))
    blob.look_sent_at, blob.url_confirmed = at(0), True
    for name, value in more.items():
        setattr(blob, name, value)
    state.blobs["b"] = blob
    return state


def test_a_url_is_renewed_ahead_of_its_end_by_one_look_for_all() -> None:
    state = with_blob()
    early = claimed(state, Memory(), at(199))
    assert isinstance(early, Wait)
    assert early.until == at(200)
    assert claimed(state, Memory(), at(200)) == Refetch(("blobs",))


def test_a_url_that_a_look_in_time_did_not_renew_is_asked_for_by_itself() -> None:
    state = with_blob(look_sent_at=at(205))
    state.asked_at = at(205)
    assert claimed(state, Memory(), at(215)) == Relink("b")


def test_a_url_that_was_shown_again_while_it_was_still_good_is_looked_for_first() -> None:
    state = with_blob(look_sent_at=at(35))
    state.asked_at = at(35)
    assert claimed(state, Memory(), at(200)) == Refetch(("blobs",))


def test_a_file_that_is_gone_is_not_asked_for() -> None:
    state = with_blob(look_sent_at=at(205), gone_at=at(206))
    state.asked_at = at(205)
    plan = claimed(state, Memory(), at(215))
    assert isinstance(plan, Wait)
    assert plan.until is None


def test_files_of_a_workflow_that_upstream_forgot_are_asked_for_by_themselves() -> None:
    assert claimed(with_blob(), Memory(misses=1), at(210)) == Relink("b")


def test_a_wish_for_a_file_asks_for_it_by_itself_only_after_a_look_in_vain() -> None:
    state = with_blob(look_sent_at=at(290))
    state.asked_at = at(290)
    assert claimed(state, Memory(wanted_at=at(310)), at(310)) == Relink("b")
    assert isinstance(claimed(state, Memory(wanted_at=at(400)), at(400)), Refetch)


def test_urls_of_work_that_ended_long_ago_are_not_renewed_after_an_outage() -> None:
    plan = claimed(with_blob(), Memory(), at(3601))
    assert isinstance(plan, Wait)
    assert plan.until is None
    assert isinstance(claimed(with_blob(), Memory(wanted_at=at(3601)), at(3601)), Refetch)
