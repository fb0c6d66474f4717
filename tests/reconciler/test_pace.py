"""How fast a source may be asked. Seconds are made up; nothing sleeps."""

from __future__ import annotations

from random import Random

import pytest

from reconciler.pace import NO_PART, Pace, Part, backoff, within_cap
from reconciler.pauses import ClockOffset
from tests.reconciler.test_plan import at


def test_waits_grow_with_full_jitter_and_never_exceed_thirty_seconds() -> None:
    rng = Random(7)
    for attempt, longest in ((1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 30.0), (60, 30.0)):
        waits = [backoff(attempt, rng) for _ in range(2000)]
        assert 0.9 * longest < max(waits) <= longest
        assert min(waits) < 0.1 * longest


def test_what_upstream_asks_to_wait_is_honoured_within_the_cap() -> None:
    assert within_cap(12.0) == 12.0
    assert within_cap(3600.0) == 30.0
    assert within_cap(None) is None


def begin(pace: Pace, count: int = 1, *, hint: bool = False, retry: bool = False) -> None:
    for _ in range(count):
        pace.claimed(hint=hint, retry=retry)
        pace.started()


def test_no_more_requests_at_once_than_configured() -> None:
    pace = Pace(3)
    for _ in range(3):
        assert pace.slots(0).total > 0
        begin(pace)
    assert pace.slots(0).total == 0
    assert not pace.free(0)
    pace.ended()
    assert pace.slots(0).total == 1


def test_who_has_been_silent_for_too_long_starts_nothing() -> None:
    pace = Pace(3)
    pace.here_until = 10
    assert pace.free(9.9)
    assert not pace.free(10)


def test_who_shares_its_places_claims_for_its_part_and_hopes_for_one_when_it_has_none() -> None:
    pace = Pace(20)
    pace.part = Part(10, 5, 2)
    assert (pace.slots(0).total, pace.slots(0).retries, pace.slots(0).hints) == (10, 5, 2)
    assert pace.slots(0, Part(4, 2, 1)).total == 4
    pace.part = NO_PART
    assert not pace.free(0)
    assert pace.hungry
    assert pace.slots(0).total == 1
    begin(pace)
    assert pace.slots(0).total == 0
    assert pace.slots(0, Part(4, 2, 1)).total == 3


def test_what_is_claimed_counts_before_it_is_sent() -> None:
    pace = Pace(3)
    pace.claimed()
    assert pace.slots(0).total == 0  # it will be sent before more is claimed
    pace.returned()
    assert pace.slots(0).total == 3


def test_checks_are_claimed_ahead_where_upstream_answers_fast_and_only_there() -> None:
    pace = Pace(4)
    assert pace.slots(0).total == 4
    for _ in range(100):
        begin(pace)
        pace.ended()
    assert pace.slots(0.5).total == 4 + 100  # half a second of 200 answers a second
    begin(pace, 4)
    assert not pace.free(0.5)
    for _ in range(60):
        pace.claimed()
    assert pace.slots(0.55).total == 0  # more than half of it waits still
    for _ in range(20):
        pace.ended()
        pace.started()
    assert pace.slots(0.55).total == 104 - 44
    assert pace.slots(10).total == 0  # hardly anything was answered for long: what waits is enough


def test_work_that_failed_before_takes_half_of_the_places_at_most() -> None:
    pace = Pace(8)
    assert pace.slots(0).retries == 4
    begin(pace, 4, retry=True)
    assert pace.slots(0).retries == 0
    assert pace.slots(0).total == 4


def test_hints_never_take_more_than_a_fifth_of_the_places() -> None:
    pace = Pace(10)
    begin(pace, hint=True)
    assert pace.slots(0).hints == 1
    begin(pace, hint=True)
    assert pace.slots(0).hints == 0


def test_a_source_that_says_too_many_is_left_alone_for_as_long_as_it_says() -> None:
    pace = Pace(8)
    pace.pause(100, 12)
    assert pace.slots(111).total == 0
    assert pace.slots(112).total == 8
    pace.pause(200, 3600)
    assert pace.slots(230).total == 8


def test_the_clock_offset_is_read_off_the_date_headers_and_written_rarely() -> None:
    offset = ClockOffset()
    assert offset.worth_writing(None) is None
    for second in range(5):
        # Upstream is 42.5 s ahead; its header is cut to whole seconds.
        offset.read(at(second), at(second + 0.2), at(second + 42))
    written = offset.worth_writing(None)
    assert written == pytest.approx(42.5, abs=0.5)
    assert offset.worth_writing(42.0) is None
    assert offset.worth_writing(0.0) == written
