"""The fidelity benchmark on a small day: every ending is right in the end, for fewer reads. Bounds need a whole one."""

from __future__ import annotations

import os

import pytest

from tests.bench.fidelity import baselines
from tests.bench.fidelity.__main__ import scenarios
from tests.bench.fidelity.ours import Simulation
from tests.bench.fidelity.upstream import drawn

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

SHARE = float(os.environ.get("HOOKLEDGER_FIDELITY_SHARE", "0.05"))


@pytest.mark.parametrize("scenario", scenarios(SHARE, 7), ids=lambda one: f"{one.name}, {one.loss}")
def test_every_ending_is_right_in_the_end_for_fewer_reads_than_cron(scenario) -> None:
    works = drawn(scenario)
    ours = Simulation(scenario, works).run()
    assert ours.wrong == 0
    assert ours.reads + ours.confirming < baselines.cron(scenario, works).reads
