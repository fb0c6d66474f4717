"""A workflow drawn over time: a bar per workflow, step and job, cut where the status changed. Pure.

All places are percentages of the width, so that the drawing fits any screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from receiver.ledger.query_parts import JsonObject, stamp
from receiver.ledger.states import TERMINAL, Status
from receiver.web.pages.times import instant_of, span

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
_MOST_TICKS = 6
_THIN = 0.6  # percent: what is shorter is drawn this wide, or nobody would see it
_ORDER = {"workflow": 0, "step": 1, "job": 2}
_SHORTEST = 0.1  # seconds that fill the width
_STUB = 12.0  # percent, for what is not drawn to scale
_WAITED = 3  # times as long as all that followed
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
    what: str | None = None


def timeline(workflow: JsonObject, transitions: Sequence[JsonObject], now: datetime) -> list[JsonObject]:
    """Return a drawing per run, the newest first.

    Each is `{"run", "span", "origin", "before", "legend", "ticks": [{"at", "label"}], "lanes": [{"level", "key",
    "name", "what", "status", "lasted", "told", "bars": [{"x", "width", "status", "told", "cap"}], "marks": [{"x",
    "kind", "to"}]}]}`. `origin` is the instant of the tick "0": when something was first heard of it, if it had been
    submitted so long before that the drawing would show nothing else; `before` says how long, else it is None.
    `legend` names what the colours mean.
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
    heard = [instant_of(workflow["first_seen_at"])] if current else []
    heard += [at for lane in lanes for at in (*(at for at, _ in lane.moves), *(at for at, _, _ in lane.marks))]
    heard += [lane.began for lane in lanes if lane.level != "workflow"]
    scale = _scale(first, min(heard, default=first), last)
    drawn = [_drawn(lane, scale, current=current) for lane in lanes]
    return {
        "run": run,
        "span": span((last - first).total_seconds()),
        "origin": stamp(scale.origin),
        "before": span((scale.origin - first).total_seconds()) if scale.stub else None,
        "legend": _legend(drawn),
        "ticks": scale.ticks(),
        "lanes": drawn,
    }


@dataclass(frozen=True, slots=True)
class _Scale:
    """From instants to percent of the width. What is before `origin` shares the first `stub` percent."""

    origin: datetime
    whole: float
    last: datetime
    stub: float

    def x(self, at: datetime) -> float:
        share = (at - self.origin).total_seconds() / self.whole
        if share < 0:
            return 0.0
        return round(min(self.stub + share * (100 - self.stub), 100.0), 2)

    def ticks(self) -> list[JsonObject]:
        ticks = _ticks(self.whole)
        if self.stub:
            ticks[0]["label"] = ""  # where the stub's own label stands
        return [{"at": round(self.stub + one["at"] * (100 - self.stub) / 100, 2), "label": one["label"]} for one in
                ticks]  # fmt: skip


def _scale(first: datetime, heard: datetime, last: datetime) -> _Scale:
    """Return the scale: a wait for the first news that is longer than all the rest is drawn as a stub, not to scale."""
    waited, rest = (heard - first).total_seconds(), (last - heard).total_seconds()
    broken = waited > max(_WAITED * rest, 2.0)
    origin = heard if broken else first
    whole = max((last - origin).total_seconds(), _SHORTEST) * 1.02
    return _Scale(origin, whole, last, _STUB if broken else 0.0)


def _legend(lanes: Iterable[JsonObject]) -> list[str]:
    """Return what is drawn, in the order in which it happens to a workflow."""
    drawn = {bar["status"] for lane in lanes for bar in lane["bars"]}
    marks = {mark["kind"] for lane in lanes for mark in lane["marks"]}
    return [one for one in ("before", *Status) if one in drawn] + sorted(marks)


def _lanes(nodes: JsonObject | None, workflow: JsonObject, transitions: Iterable[JsonObject]) -> list[_Lane]:
    lanes: dict[tuple[str, str], _Lane] = {}
    if nodes is not None:
        began = instant_of(workflow["submitted_at"] or workflow["first_seen_at"])
        lanes["workflow", ""] = _Lane("workflow", "", None, min(began, instant_of(workflow["first_seen_at"])))
        for step in workflow["steps"]:
            lanes["step", step["name"]] = _Lane(
                "step", step["name"], None, instant_of(step["first_seen_at"]), what=step["type"]
            )
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
            # An ending has no length: the bar that led to it is capped with it, also when it was taken back later.
            if index + 1 == len(moves) or moves[index + 1][1] != status:
                bars.append({"x": min(scale.x(at), 99.0), "width": 1.0, "status": status, "told": status, "cap": True})
            continue
        until = moves[index + 1][0] if index + 1 < len(moves) else scale.last
        if scale.stub and at < scale.origin:
            bars.append(_bar(scale, at, scale.origin, "before"))
        if until > max(at, scale.origin):
            bars.append(_bar(scale, max(at, scale.origin), until, status))
    ended = lane.moves[-1][0] if lane.moves and lane.last in TERMINAL else scale.last
    name = {"workflow": "Workflow", "step": lane.key, "job": lane.key}[lane.level]
    return {
        "level": lane.level,
        "key": lane.key,
        "name": name,
        "what": lane.what,
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
