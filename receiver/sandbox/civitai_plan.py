"""What will happen to one step: which jobs it gets, through which statuses they go, and how it ends. Pure.

A plan is a list of `Op`s, each some seconds after the one before (unscaled; the world divides by `--speed`).
Statuses, racing of providers and added jobs: UPSTREAMS §1.3, §1.12 and the errors-and-retries page (seed 004).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from receiver.sandbox.civitai_faults import CivitaiFaults

ENDED = ("succeeded", "failed", "expired", "canceled")
STATUSES = ("unassigned", "preparing", "scheduled", "processing", *ENDED)
ODD_WORDS = ("pending", "moderating", "paused")
# Seconds a step of each type takes, before --speed.
PACE = {
    "imageGen": (4.0, 12.0),
    "videoGen": (15.0, 60.0),
    "echo": (0.2, 0.6),
    "mediaRating": (0.6, 2.5),
    "wdTagging": (0.6, 2.5),
}
# Two documented words, then free text seen in the wild (UPSTREAMS §1.9), then none at all.
REASONS: tuple[tuple[str | None, str | None], ...] = (
    ("no_provider_available", None),
    ("blocked", "Prompt violates the content policy."),
    ("timeout", None),
    ("Response status code does not indicate success: 500 (Internal Server Error)", None),
    ("Giving up after 10 attempts", None),
    (None, None),
)


@dataclass(frozen=True, slots=True)
class Op:
    """One change, `after` seconds behind the previous one.

    `kind`: `job` (job number `job` takes `status`), `progress` (it reports `rate`), `odd` (step and job show the
    word in `status`), `end` (the step ends with `status`; job number `job` with it, all others are canceled).
    """

    after: float
    kind: str
    job: int
    status: str = ""
    rate: float | None = None
    reason: str | None = None
    blocked_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """How a step will end, before the clock runs. `hold` never ends by itself."""

    end: str = "succeeded"
    reason: str | None = None
    blocked_reason: str | None = None
    failing: int = 0
    racing: int = 0
    seconds: float | None = None
    hold: bool = False
    odd_word: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def draw_fate(rng: random.Random, faults: CivitaiFaults, script: dict[str, Any]) -> Fate:
    """By chance, except for what the step's `metadata.sandbox` names: `end`, `reason`, `blockedReason`, `failing`,
    `racing`, `seconds`, `hold`, `oddWord`, and for its blobs `nsfwLevel`, `blocked`."""
    end, reason, blocked = "succeeded", None, None
    if faults.fail.hit(rng):
        end = "failed"
        reason, blocked = rng.choice(REASONS)
    elif faults.expire.hit(rng):
        end, reason = "expired", rng.choice(("timeout", "expired"))
    if "end" in script:
        end, reason, blocked = script["end"], script.get("reason"), script.get("blockedReason")
        if end == "expired" and reason is None:
            reason = "timeout"
    failing = rng.choices((0, 1, 2), (78, 17, 5))[0]
    if reason in ("blocked", "no_provider_available"):
        failing = 0  # no other provider is tried
    odd = rng.choice(ODD_WORDS) if faults.unknown_status.hit(rng) else None
    return Fate(
        end=end,
        reason=reason,
        blocked_reason=blocked,
        failing=script.get("failing", failing),
        racing=script.get("racing", rng.choices((0, 1), (85, 15))[0]),
        seconds=script.get("seconds"),
        hold=bool(script.get("hold", False)),
        odd_word=script.get("oddWord", odd),
        extra={key: script[key] for key in ("nsfwLevel", "blocked") if key in script},
    )


def plan_step(rng: random.Random, type_: str, fate: Fate, timeout: float | None) -> list[Op]:
    """The ops of one step, first to last. A step that would outlive its `timeout` seconds ends `expired` at it."""
    total = fate.seconds if fate.seconds is not None else rng.uniform(*PACE[type_])
    tries = fate.failing + 1
    ops: list[Op] = []
    for number in range(tries):
        last = number == tries - 1
        ops += _queue(rng, number, total / tries, fate.odd_word if last else None)
        if last:
            ops += [Op(0, "job", tries + extra, "scheduled") for extra in range(fate.racing)]
        ops += _work(rng, number, total / tries, rates=3 if type_ == "videoGen" else 2)
        if not last:
            ops.append(Op(total / tries * 0.1, "job", number, "failed", None, rng.choice(REASONS[3:])[0]))
    if not fate.hold:
        end = Op(total / tries * 0.1, "end", tries - 1, fate.end, None, fate.reason, fate.blocked_reason)
        ops.append(end)
    return _cut(ops, timeout)


def _queue(rng: random.Random, job: int, seconds: float, odd_word: str | None) -> list[Op]:
    """From unassigned to the worker: a model may have to be fetched, and the queue may be left again for that."""
    ops = [Op(0, "job", job, "unassigned")]
    if rng.random() < 0.5:
        ops.append(Op(seconds * 0.1, "job", job, "preparing"))
    if odd_word:
        ops.append(Op(seconds * 0.05, "odd", job, odd_word))
    ops.append(Op(seconds * 0.1, "job", job, "scheduled"))
    if rng.random() < 0.2:
        ops += [Op(seconds * 0.05, "job", job, "preparing"), Op(seconds * 0.05, "job", job, "scheduled")]
    return ops


def _work(rng: random.Random, job: int, seconds: float, rates: int) -> list[Op]:
    ops = [Op(seconds * 0.1, "job", job, "processing")]
    steps = rng.randint(0, rates)
    for number in range(steps):
        rate = round((number + 1) / (steps + 1), 3)
        ops.append(Op(seconds * 0.5 / steps, "progress", job, "processing", rate))
    if not steps:
        ops[0] = Op(seconds * 0.5, "job", job, "processing")
    return ops


def _cut(ops: list[Op], timeout: float | None) -> list[Op]:
    if timeout is None:
        return ops
    spent = 0.0
    kept: list[Op] = []
    for op in ops:
        if spent + op.after > timeout:
            return [*kept, Op(timeout - spent, "end", _busy(kept), "expired", None, "timeout")]
        spent += op.after
        kept.append(op)
    if kept and kept[-1].kind != "end":  # held: only its timeout ends it
        kept.append(Op(timeout - spent, "end", _busy(kept), "expired", None, "timeout"))
    return kept


def _busy(ops: list[Op]) -> int:
    """The newest job that may still be running; racing ones are only queued."""
    working = [op.job for op in ops if op.status != "scheduled"]
    return working[-1] if working else 0
