"""Faults on demand: what may go wrong, how often, and the reading of the values people type.

A *chance* is a share (`0.1`, `"10%"`, `1.0` = always) or a count (an integer: `3` = the next three times, then never
again). In JSON and Python the type decides, so `1` is once and `1.0` is always; on the command line a point or a
percent sign makes it a share.
"""

from __future__ import annotations

# ruff: noqa: RUF009 - `knob` returns a dataclasses.field
import dataclasses
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class BadKnob(ValueError):
    """A knob that does not exist, or a value it cannot take. The message begins with `name`."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(f"{name} {sentence}")
        self.name = name


def seeded(*parts: object) -> random.Random:
    """A generator of its own for each purpose, so that one fault's draws do not shift another's."""
    return random.Random(":".join(map(str, parts)))  # noqa: S311 - repeatable faults, no secrets


@dataclass(slots=True)
class Chance:
    """How often something happens: a share of all times, or the next `remaining` times."""

    share: float = 0.0
    remaining: int = 0

    def hit(self, rng: random.Random) -> bool:
        """Decide one time; a count is used up by it."""
        if self.remaining > 0:
            self.remaining -= 1
            return True
        return self.share > 0 and rng.random() < self.share

    def as_json(self) -> float | int:
        """What to type to get this chance again."""
        return self.share if self.share else self.remaining


@dataclass(frozen=True, slots=True)
class Outage:
    """From `start` seconds after it was set, for `duration` seconds, the upstream is down."""

    start: float
    duration: float

    def covers(self, seconds: float) -> bool:
        """Whether the outage is on `seconds` after it was set."""
        return self.start <= seconds < self.start + self.duration


def read_chance(value: object) -> Chance:
    """A share (0.0 to 1.0 or a percentage) or a count; ValueError says what would be right."""
    right = "a share such as 0.1 or 10%, or a whole number of times such as 3"
    if isinstance(value, Chance):
        return value
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text[:-1]) / 100 if text.endswith("%") else float(text) if "." in text else int(text)
        except ValueError:
            raise ValueError(right) from None
    match value:
        case int() if not isinstance(value, bool) and value >= 0:
            return Chance(remaining=value)
        case float() if 0 <= value <= 1:
            return Chance(share=value)
        case _:
            raise ValueError(right)


def _number(value: object) -> float:
    """A number, or one written as text; anything else is not a number in the literal sense."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def read_seconds(value: object) -> float:
    """A finite number of seconds, 0 or more."""
    number = _number(value)
    if not 0 <= number < math.inf:
        raise ValueError("a number of seconds, 0 or more")
    return number


def read_offset(value: object) -> float:
    """Seconds of either sign, no more than ten years."""
    number = _number(value)
    if not abs(number) < 3.2e8:
        raise ValueError("a number of seconds, negative when the sandbox's clock is behind")
    return number


def read_speed(value: object) -> float:
    """A factor above 0."""
    try:
        number = read_seconds(value)
    except ValueError:
        number = 0.0
    if number <= 0:
        raise ValueError("a factor above 0, such as 20")
    return number


def read_count(value: object) -> int:
    """A whole number, 0 or more."""
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or not text.isascii():
        raise ValueError("a whole number, 0 or more")
    return int(text)


def read_limit(value: object) -> int:
    """A whole number, 1 or more."""
    try:
        number = read_count(value)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("a whole number, 1 or more")
    return number


def read_optional_count(value: object) -> int | None:
    """A whole number, 0 or more, or nothing."""
    return None if value is None or value == "" else read_count(value)


def read_flag(value: object) -> bool:
    """true or false."""
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def read_text(value: object) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ValueError("text, not empty")


def read_optional_text(value: object) -> str | None:
    """Text, or nothing."""
    return None if value is None or value == "" else read_text(value)


def read_outage(value: object) -> Outage | None:
    """`START:DURATION` in seconds from now, or nothing."""
    if value is None or value == "" or isinstance(value, Outage):
        return value if isinstance(value, Outage) else None
    right = "START:DURATION in seconds, such as 10:30"
    start, colon, duration = str(value).partition(":")
    if not colon:
        raise ValueError(right)
    try:
        return Outage(read_seconds(start), read_seconds(duration))
    except ValueError:
        raise ValueError(right) from None


def read_ladder(value: object) -> tuple[float, ...] | None:
    """Seconds separated by commas, or a list of them, or nothing."""
    if value is None or value == "":
        return None
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    try:
        return tuple(map(read_seconds, parts))
    except ValueError:
        raise ValueError("seconds before each retry, such as 1,5,30") from None


def one_of(*words: str) -> Callable[[object], str]:
    """A reader that takes exactly these words."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError("one of " + ", ".join(words))

    return read


def knob(default: Any, read: Callable[[object], Any], text: str, *, secret: bool = False) -> Any:
    """A dataclass field that also says how to read what people type, and what it does."""
    meta = {"read": read, "help": text, "default": default, "secret": secret}
    return dataclasses.field(default_factory=lambda: read(default), metadata=meta)


@dataclass
class DeliveryFaults:
    """The knobs of how callbacks are sent, for any upstream."""

    drop: Chance = knob("0", read_chance, "callbacks that are never sent")
    duplicate: Chance = knob("0", read_chance, "callbacks that are sent twice")
    reorder: Chance = knob("0", read_chance, "callbacks that arrive after their successor")
    delay: Chance = knob("0", read_chance, "callbacks that are late, with all behind them")
    delay_seconds: float = knob("5", read_seconds, "how late a delayed callback is, before --speed")
    forge: Chance = knob("0", read_chance, "callbacks accompanied by a forged one with a wrong or missing token")
    forge_ending: Chance = knob("0", read_chance, "workflows that get a forged ending with the right token")
    callback_retries: int = knob("3", read_count, "tries after the first one fails")
    callback_backoff: float = knob("2", read_seconds, "seconds before the first retry, then doubled, before --speed")
    callback_ladder: tuple[float, ...] | None = knob(
        None, read_ladder, "seconds before each retry, before --speed, instead of retries and backoff"
    )
    callback_timeout: float = knob("10", read_seconds, "seconds for one try, before --speed")
    callback_total: float = knob("30", read_seconds, "seconds for all tries of one callback, before --speed")
    callback_floor: float = knob("1", read_seconds, "no time limit gets shorter than this, however high --speed is")
    callback_retry_4xx: bool = knob(False, read_flag, "retry on every answer that is not 2xx, as the guide says")
    on_exhaustion: str = knob("drop", one_of("drop", "stop"), "after the last try: drop it and go on, or stop")
    concurrency: int = knob("64", read_limit, "callbacks in flight at once")
    speed: float = knob("1", read_speed, "how much faster than real life everything goes")
    seed: int = knob(
        "1", read_count, "the same seed draws the same fates, and loses the same callbacks of each workflow"
    )

    def tries(self) -> int:
        """How often one callback is tried at most."""
        return 1 + (self.callback_retries if self.callback_ladder is None else len(self.callback_ladder))

    def pause_after(self, attempt: int, luck: float) -> float:
        """Real seconds between try `attempt` (from 1) and the next: the ladder's, with no jitter; without a ladder
        "exponential with jitter", half to one and a half times 2, 4, 8 seconds. `luck` is 0 to 1; 0 after the last."""
        if self.callback_ladder is not None:
            return self.callback_ladder[attempt - 1] / self.speed if attempt <= len(self.callback_ladder) else 0.0
        return float(self.callback_backoff * 2 ** (attempt - 1) * (0.5 + luck) / self.speed)

    def update(self, values: Mapping[str, object]) -> None:
        """Set knobs by name, all or none of them; BadKnob says which is wrong and what would be right."""
        readers = {f.name: f.metadata["read"] for f in dataclasses.fields(self)}
        ready: dict[str, object] = {}
        for name, value in values.items():
            if name not in readers:
                raise BadKnob(name, f"is no knob; there are {', '.join(sorted(readers))}")
            try:
                ready[name] = readers[name](value)
            except ValueError as problem:
                raise BadKnob(name, f"cannot be {value!r}: it takes {problem}") from None
        for name, setting in ready.items():
            setattr(self, name, setting)

    def as_json(self) -> dict[str, object]:
        """Every knob as it stands, ready to be set again; secrets left out."""
        shown: dict[str, object] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.metadata["secret"]:
                continue
            if isinstance(value, Chance):
                value = value.as_json()
            elif isinstance(value, Outage):
                value = f"{value.start:g}:{value.duration:g}"
            shown[f.name] = value
        return shown
