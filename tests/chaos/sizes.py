"""How large a run is: short by itself, for CI; as long as wanted through the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass


def number(name: str, default: float) -> float:
    """Return the number in `HOOKLEDGER_CHAOS_<name>`, or the default."""
    return float(os.environ.get(f"HOOKLEDGER_CHAOS_{name}") or default)


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

    The whole test is SECONDS=300 DELIVERIES=50000 WORKFLOWS=2000 LEAST=5 MOST=20 (each after `HOOKLEDGER_CHAOS_`).
    """
    return Size(
        seconds=number("SECONDS", 8),
        deliveries=int(number("DELIVERIES", 1500)),
        workflows=int(number("WORKFLOWS", 120)),
        least=number("LEAST", 1),
        most=number("MOST", 4),
        seed=int(number("SEED", 1)),
    )
