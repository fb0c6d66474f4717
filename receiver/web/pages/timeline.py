"""A workflow drawn over time: a bar per workflow, step and job, cut where the status changed. Pure.

All places are percentages of the width, so that the drawing fits any screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from receiver.ledger.query_parts import JsonObject
from receiver.ledger.states import TERMINAL
from receiver.web.pages.times import instant_of, span

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
_MOST_TICKS = 6
_THIN = 0.6  # percent: what is shorter is drawn this wide, or nobody would see it
_ORDER = {"workflow": 0, "step": 1, "job": 2}
_NEVER_MOVED = frozenset({"contradiction"})


@dataclass(slots=True)
class _Lane:
    level: str
    key: str
    parent: str | None
    began: datetime
    moves: list[tuple[datetime, str]] = field(default_factory=list)
    marks: list[tuple[datetime, str, str]] = field(default_factory=list)
    last: str = "unassigned"


def timeline(workflow: JsonObject, transitions: Sequence[JsonObject], now: datetime) -> list[JsonObject]:
    """Return a drawing per run, the newest first.

    Each is `{"run", "span", "ticks": [{"at", "label"}], "lanes": [{"level", "key", "name", "status", "told", "bars":
    [{"x", "width", "status", "told"}], "marks": [{"x", "kind", "told"}], "inferred"}]}`.
    """
    runs = sorted({one["run"] for one in transitions} | {workflow["run"]}, reverse=True)
    return [_run(run, workflow, [one for one in transitions if one["run"] == run], now) for run in runs]


def _run(run: int, workflow: JsonObject, transitions: Sequence[JsonObject], now: datetime) -> JsonObject:
    current = run == workflow["run"]
    lanes = _lanes(workflow if current else None, workflow, transitions)
    starts = [lane.began for lane in lanes] + [at for lane in lanes for at, _ in lane.moves]
    open_ones = current and any(lane.last not in TERMINAL for lane in lanes)
    ends = [at for lane in lanes for at, _ in lane.moves] + [at for lane in lanes for at, _, _ in lane.marks]
    first = min(starts, default=now)
    last = max([*ends, first], default=now)
    if open_ones:
        last = max(last, now)
    whole = max((last - first).total_seconds(), 0.5) * 1.02
    scale = _Scale(first, whole, last)
    return {
        "run": run,
        "span": span((last - first).total_seconds()),
        "ticks": _ticks(whole),
        "lanes": [_drawn(lane, scale, current=current) for lane in lanes],
    }


@dataclass(frozen=True, slots=True)
class _Scale:
    first: datetime
    whole: float
    last: datetime

    def x(self, at: datetime) -> float:
        return round(min(max((at - self.first).total_seconds() / self.whole * 100, 0.0), 100.0), 2)


def _lanes(nodes: JsonObject | None, workflow: JsonObject, transitions: Iterable[JsonObject]) -> list[_Lane]:
    lanes: dict[tuple[str, str], _Lane] = {}
    if nodes is not None:
        began = instant_of(workflow["submitted_at"] or workflow["first_seen_at"])
        lanes["workflow", ""] = _Lane("workflow", "", None, min(began, instant_of(workflow["first_seen_at"])))
        for step in workflow["steps"]:
            lanes["step", step["name"]] = _Lane("step", step["name"], None, instant_of(step["first_seen_at"]))
        for job in workflow["jobs"]:
            lanes["job", job["id"]] = _Lane("job", job["id"], job["step"], instant_of(job["first_seen_at"]))
    for one in transitions:
        at = instant_of(one["upstream_at"] or one["recorded_at"])
        lane = lanes.setdefault((one["level"], one["key"]), _Lane(one["level"], one["key"], None, at))
        if one["kind"] in _NEVER_MOVED:
            lane.marks.append((instant_of(one["recorded_at"]), one["kind"], one["to"]))
            continue
        if one["kind"] == "retracted":
            at = instant_of(one["recorded_at"])
            lane.marks.append((at, one["kind"], one["to"]))
        if lane.moves:
            at = max(at, lane.moves[-1][0])
        lane.moves.append((at, one["to"]))
        lane.last = one["to"]
        lane.began = min(lane.began, at)
    return sorted(lanes.values(), key=lambda lane: _place(lane, lanes))


def _place(lane: _Lane, lanes: dict[tuple[str, str], _Lane]) -> tuple[int, datetime, str, int, datetime, str]:
    """Steps stand in the order they began, each with its jobs beneath it."""
    if lane.level == "workflow":
        return (0, lane.began, "", 0, lane.began, "")
    parent = lane if lane.level == "step" else lanes.get(("step", lane.parent or ""))
    if parent is None:
        return (2, lane.began, "", 1, lane.began, lane.key)
    return (1, parent.began, parent.key, _ORDER[lane.level], lane.began, lane.key)


def _drawn(lane: _Lane, scale: _Scale, *, current: bool) -> JsonObject:
    moves = [(lane.began, "unassigned"), *lane.moves]
    bars: list[JsonObject] = []
    for index, (at, status) in enumerate(moves):
        if status in TERMINAL:
            continue
        until = moves[index + 1][0] if index + 1 < len(moves) else scale.last
        if until > at:
            bars.append(_bar(scale, at, until, status))
    if lane.last in TERMINAL:
        # An ending has no length: the bar that led to it is capped with it.
        at = moves[-1][0]
        bars.append({"x": min(scale.x(at), 99.0), "width": 1.0, "status": lane.last, "told": lane.last, "cap": True})
    ended = lane.moves[-1][0] if lane.moves and lane.last in TERMINAL else scale.last
    name = {"workflow": "Workflow", "step": lane.key, "job": lane.key}[lane.level]
    return {
        "level": lane.level,
        "key": lane.key,
        "name": name,
        "status": lane.last,
        "lasted": span((ended - lane.began).total_seconds()),
        "told": _told(lane, bars, current=current),
        "bars": bars,
        "marks": [{"x": scale.x(at), "kind": kind, "to": to} for at, kind, to in lane.marks],
    }


def _bar(scale: _Scale, at: datetime, until: datetime, status: str) -> JsonObject:
    x, end = scale.x(at), scale.x(until)
    lasted = span((until - at).total_seconds())
    return {
        "x": x,
        "width": max(round(end - x, 2), _THIN),
        "status": status,
        "told": f"{status} {lasted}",
        "cap": False,
    }


def _told(lane: _Lane, bars: Iterable[JsonObject], *, current: bool) -> str:
    """Return the bar in words, for whoever does not see it."""
    parts = [bar["told"] for bar in bars]
    parts += [f"{kind} ({to})" for _, kind, to in lane.marks]
    still = "" if lane.last in TERMINAL or not current else ", still open"
    return ", ".join(parts) + still


def _ticks(whole: float) -> list[JsonObject]:
    step = next((one for one in _TICKS if whole / one <= _MOST_TICKS), None)
    if step is None:
        step = float(timedelta(days=max(whole // 86400 // _MOST_TICKS + 1, 1)).total_seconds())
    count = int(whole // step)
    return [{"at": round(n * step / whole * 100, 2), "label": span(n * step) if n else "0"} for n in range(count + 1)]
