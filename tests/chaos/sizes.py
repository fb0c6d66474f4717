"""How large a run is: short by itself, for CI; as long as wanted through the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass


def number(name: str, default: float) -> float:
    """Return the number in `CHAOS_<name>`, or the default."""
    return float(os.environ.get(f"CHAOS_{name}") or default)


@dataclass(frozen=True)
class Size:
    """`seconds` of chaos, with something dying every `least` to `most` seconds; at least so many deliveries."""

    seconds: float
    deliveries: int
    workflows: int
    least: float
    most: float
    seed: int


def size() -> Size:
    """Return what the environment asks for.

    The whole test is CHAOS_SECONDS=300 CHAOS_DELIVERIES=50000 CHAOS_WORKFLOWS=2000 CHAOS_LEAST=5 CHAOS_MOST=20.
    (Not `HOOKLEDGER_…`: those are settings, and the programs under test refuse what they do not know.)
    """
    return Size(
        seconds=number("SECONDS", 8),
        deliveries=int(number("DELIVERIES", 1500)),
        workflows=int(number("WORKFLOWS", 120)),
        least=number("LEAST", 1),
        most=number("MOST", 4),
        seed=int(number("SEED", 1)),
    )
