"""What is counted of a source's budget. Instants are made up; nothing sleeps."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.config import Budget
from reconciler.budgets import Counted, RequestLog
from tests.reconciler.test_plan import at

MINUTE = timedelta(minutes=1)
FIVE = Budget(5, MINUTE)


def sent(log: RequestLog, second: float, *, hint: bool = False, over: float | None = None) -> None:
    """Send one request at that second; its answer is known at `over` (default: at once)."""
    token = f"t{second}"
    log.reserve(token, Counted(1, int(hint)), at(second + 65))
    log.settle(token, hint=hint, sent=True, now=at(second if over is None else over))


def test_a_budget_holds_in_every_stretch_of_its_time() -> None:
    log = RequestLog(FIVE)
    for second in (0, 10, 20, 30, 40):
        sent(log, second)
    assert log.allowance(at(59.9)).requests == 0
    assert log.allowance(at(60.1)).requests == 1
    assert log.allowance(at(75)).requests == 2


def test_a_request_under_way_counts_until_a_minute_after_its_answer() -> None:
    log = RequestLog(FIVE)
    log.reserve("slow", Counted(5, 0), at(65))
    assert log.allowance(at(64)).requests == 0
    for _ in range(5):
        log.settle("slow", hint=False, sent=True, now=at(8))
    assert log.allowance(at(67.9)).requests == 0
    assert log.allowance(at(68.1)).requests == 5


def test_what_was_not_sent_after_all_is_given_back() -> None:
    log = RequestLog(FIVE)
    log.reserve("t", Counted(5, 1), at(65))
    log.settle("t", hint=True, sent=False, now=at(1))
    assert log.allowance(at(1)).requests == 1
    assert log.allowance(at(1)).hints == 1


def test_who_died_with_requests_under_way_blocks_the_budget_for_a_while_only() -> None:
    log = RequestLog(FIVE)
    log.reserve("dead", Counted(5, 0), at(65))
    assert log.allowance(at(124)).requests == 0
    assert log.allowance(at(126)).requests == 5
    log.forget(at(126))
    assert log.as_json() == {"under_way": {}, "sent": []}


@pytest.mark.parametrize(("requests", "hints"), [(100, 20), (10, 2), (5, 1)])
def test_hints_get_a_fifth_of_a_budget(requests: int, hints: int) -> None:
    log = RequestLog(Budget(requests, MINUTE))
    assert log.allowance(at(0)).hints == hints
    for n in range(hints):
        sent(log, n / 10, hint=True)
    assert log.allowance(at(50)).hints == 0
    assert log.allowance(at(50)).requests == requests - hints
    assert log.allowance(at(63)).hints == hints


def test_hints_get_one_in_five_minutes_where_one_a_minute_is_all_there_is() -> None:
    log = RequestLog(Budget(1, MINUTE))
    sent(log, 0, hint=True)
    assert log.allowance(at(299)).requests == 1
    assert log.allowance(at(299)).hints == 0
    assert log.allowance(at(301)).hints == 1


def test_one_request_of_five_is_kept_for_who_waits_and_none_of_four() -> None:
    log = RequestLog(FIVE)
    assert log.allowance(at(0)).kept == 1
    assert RequestLog(Budget(4, MINUTE)).allowance(at(0)).kept == 0
    for second in range(5):
        sent(log, second)
    assert log.allowance(at(5)).kept == 0


def test_a_large_budget_is_counted_in_few_rows_and_errs_on_the_safe_side() -> None:
    log = RequestLog(Budget(100_000, MINUTE))
    for n in range(3000):
        log.reserve("t", Counted(30, 0), at(n / 50 + 65))
        for _ in range(30):
            log.settle("t", hint=False, sent=True, now=at(n / 50))
    assert len(log.as_json()["sent"]) <= 65
    assert log.allowance(at(59.99)).requests == 10_000
    assert 10_000 <= log.allowance(at(61.5)).requests <= 10_000 + 1.5 * 1500


def test_what_is_counted_comes_back_from_the_database_as_it_was() -> None:
    log = RequestLog(FIVE)
    sent(log, 1, hint=True)
    log.reserve("mine#1", Counted(2, 1), at(70))
    again = RequestLog.of(FIVE, log.as_json())
    assert again == log
    again.settle("mine#1", hint=True, sent=True, now=at(3))
    assert again.allowance(at(4)).requests == 2


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4), st.floats(0, 30), st.floats(0, 30)), max_size=60),
)
def test_upstream_never_sees_more_in_any_window_however_long_requests_travel(
    most: int, turns: list[tuple[float, int, float, float]]
) -> None:
    """Each turn, after a pause, claims some; each request arrives at some time before its answer is known."""
    log = RequestLog(Budget(most, MINUTE))
    numbers, now = count(), 0.0
    arrived: list[float] = []
    under_way: list[tuple[float, str]] = []
    for pause, wanted, there, back in turns:
        now += pause
        for known, token in sorted(under_way):
            if known <= now:
                log.settle(token, hint=False, sent=True, now=at(now))
                under_way.remove((known, token))
        log.forget(at(now))
        log = RequestLog.of(log.budget, log.as_json())
        for _ in range(min(wanted, log.allowance(at(now)).requests)):
            token = f"t{next(numbers)}"
            log.reserve(token, Counted(1, 0), at(now + 65))
            arrived.append(now + there)
            under_way.append((now + there + back, token))
    arrived.sort()
    for first, last in zip(arrived, arrived[most:], strict=False):
        assert last - first >= 60
