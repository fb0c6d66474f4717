"""How long to fuzz: `HOOKLEDGER_FUZZ_SECONDS` for the whole suite; `HOOKLEDGER_FUZZ_SEED` repeats a run."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# The samples of what upstreams send are modules of their own.
sys.path.insert(0, str(Path(__file__).parents[1] / "providers"))

SECONDS = float(os.environ.get("HOOKLEDGER_FUZZ_SECONDS", "56"))


class Clock:
    """Yields the number of each try until the time is over, and says at the end how many there were."""

    def __init__(self, share: float) -> None:
        self.seconds = SECONDS * share
        self.tries = 0

    def __iter__(self) -> Iterator[int]:
        ends = time.monotonic() + self.seconds
        while time.monotonic() < ends or self.tries < 10:
            yield self.tries
            self.tries += 1


@pytest.fixture
def chance() -> random.Random:
    """Where hostile input comes from; the seed is told when a test fails."""
    seed = int(os.environ.get("HOOKLEDGER_FUZZ_SEED", random.randrange(2**32)))
    print(f"HOOKLEDGER_FUZZ_SEED={seed}")
    return random.Random(seed)
