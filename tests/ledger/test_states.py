"""R1: the whole status table, spelled out."""

from __future__ import annotations

import pytest

from receiver.ledger.states import MOVES, RANK, Move, Status, settle

ORDER = ["unassigned", "preparing", "scheduled", "processing", "succeeded", "failed", "expired", "canceled"]

# One row per status held, one letter per status an event names, both in the order above:
# A advance, R repeat, S sideways (preparing after scheduled), L late, D dispute.
TABLE = """
RAAAAAAA
LRAAAAAA
LSRAAAAA
LLLRAAAA
LLLLRDDD
LLLLDRDD
LLLLDDRD
LLLLDDDR
"""
LETTERS = {"A": Move.ADVANCE, "R": Move.REPEAT, "S": Move.SIDEWAYS, "L": Move.LATE, "D": Move.DISPUTE}


def test_the_whole_matrix_is_as_spelled_out():
    spelled = {
        (Status(held), Status(named)): LETTERS[letter]
        for held, row in zip(ORDER, TABLE.split(), strict=True)
        for named, letter in zip(ORDER, row, strict=True)
    }
    assert spelled == MOVES


def test_the_last_four_are_terminal_and_ranks_are_those_of_the_rule():
    assert [status.value for status in Status] == ORDER
    assert [status.terminal for status in Status] == [False] * 4 + [True] * 4
    assert [RANK[Status(word)] for word in ORDER] == [0, 1, 1, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("parent", "child", "step", "job"),
    [
        ("succeeded", "unassigned", "succeeded", "canceled"),
        ("succeeded", "processing", "succeeded", "canceled"),
        ("failed", "processing", "failed", "failed"),
        ("failed", "scheduled", "canceled", "canceled"),
        ("failed", "unassigned", "canceled", "canceled"),
        ("canceled", "processing", "canceled", "canceled"),
        ("expired", "preparing", "expired", "expired"),
    ],
)
def test_children_left_open_end_as_their_parent_did(parent, child, step, job):
    assert settle(Status(parent), Status(child)) == (Status(step), Status(job))


def test_nothing_is_inferred_from_a_parent_that_is_alive():
    with pytest.raises(ValueError, match="nothing can be inferred"):
        settle(Status.PROCESSING, Status.PROCESSING)
