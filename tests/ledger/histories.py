"""Made-up truths: what really happened to a workflow upstream, and how the news of it may have reached us.

A history says which status each workflow, step and job had at every second. Events are what upstream would have sent;
`arrivals` decides which are lost, doubled and delayed, so that the order of arrival follows from the delays. A look
shows the truth of the second it was sent in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import strategies as st

from receiver.ledger.merge import merge, new_state
from receiver.ledger.nodes import Evidence, WorkflowState
from receiver.ledger.records import BlobSeen, EvidenceKind, Level, Observation, Reading, Trust
from receiver.ledger.states import Status

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENDINGS = [Status.SUCCEEDED, Status.FAILED, Status.EXPIRED, Status.CANCELED]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


@dataclass
class Thing:
    """One workflow, step or job, with the seconds at which its status changed."""

    level: Level
    key: str
    step: str | None
    path: list[tuple[int, Status]]
    reason: str | None = None
    blobs: list[str] = field(default_factory=list)
    stamped: bool = True  # whether its events carry upstream's own instant

    def status(self, second: float) -> Status:
        return [status for when, status in self.path if when <= second][-1]

    def observe(self, second: float, *, event: bool) -> Observation:
        when, status = [step for step in self.path if step[0] <= second][-1]
        started = next((w for w, s in self.path if s is Status.PROCESSING and w <= second), None)
        facts: dict[str, object] = {}
        if event and status is Status.FAILED and self.reason:
            facts["reason"] = self.reason
        if event and status is Status.PREPARING:
            facts["preparation"] = {"queuePosition": when}
        if status is Status.SUCCEEDED and self.level is Level.STEP:
            facts["output"] = {"made": self.key}
        return Observation(
            self.level, self.key, self.step, status, status.value,
            at(when) if event and self.stamped else None,
            at(started) if started is not None else None,
            at(when) if status.terminal else None,
            facts=facts,
        )  # fmt: skip


@dataclass
class History:
    things: list[Thing]
    lasts: int

    def reading(self, thing: Thing, second: int) -> Reading:
        blobs = self.shown(thing, second, event=True)
        return Reading("wf", (thing.observe(second, event=True),), tuple(blobs))

    def shown(self, thing: Thing, second: float, *, event: bool) -> list[BlobSeen]:
        done = thing.status(second) is Status.SUCCEEDED
        signed = "event" if event else f"look-{int(second)}"
        return [
            BlobSeen(
                name, "image", thing.key, available=done,
                url=f"https://x.test/{name}?sig={signed}" if done else None,
                url_expires_at=at(second + 600) if done else None,
            )
            for name in thing.blobs
        ]  # fmt: skip

    def look(self, second: float) -> Reading:
        begun = [thing for thing in self.things if thing.path[0][0] <= second]
        seen = tuple(thing.observe(second, event=False) for thing in begun)
        blobs = tuple(blob for thing in begun for blob in self.shown(thing, second, event=False))
        return Reading("wf", seen, blobs, snapshot=True, complete=True)

    def events(self) -> list[tuple[int, Thing]]:
        return sorted(((when, thing) for thing in self.things for when, _ in thing.path), key=lambda e: e[0])


def _path(random: Random, begins: int, finishes: bool) -> list[tuple[int, Status]]:
    path = [(begins, Status.UNASSIGNED)]
    when = begins
    for _ in range(random.randrange(4)):
        when += random.randint(1, 20)
        path.append((when, random.choice([Status.PREPARING, Status.SCHEDULED])))
    if random.random() < 0.8:
        when += random.randint(1, 20)
        path.append((when, Status.PROCESSING))
    if finishes:
        when += random.randint(1, 60)
        path.append((when, random.choice(ENDINGS)))
    return path


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A workflow of up to 4 steps and 6 jobs; some never end within the story."""
    random = Random(draw(st.integers(0, 2**32)))
    steps = draw(st.integers(0, 4))
    jobs = draw(st.integers(0, 6)) if steps else 0
    ends = draw(st.booleans())
    stamped = draw(st.booleans())
    things = [Thing(Level.WORKFLOW, "", None, _path(random, 0, ends))]
    for n in range(steps):
        blobs = [f"blob-{n}-{b}" for b in range(random.randrange(3))]
        path = _path(random, random.randrange(10), ends and random.random() < 0.9)
        things.append(Thing(Level.STEP, f"${n}", None, path, "step broke", blobs, stamped))
    for n in range(jobs):
        path = _path(random, random.randrange(20), random.random() < 0.8)
        reason = random.choice([None, "blocked", "worker lost"])
        things.append(Thing(Level.JOB, f"job-{n}", f"${n % steps}", path, reason, [], stamped))
    return History(things, max(when for thing in things for when, _ in thing.path))


@dataclass(frozen=True)
class Arrival:
    """One piece of evidence reaching us: `second` is our clock; `look` tells a look from an event."""

    second: float
    reading: Reading
    name: str
    look: bool = False
    again: bool = False


def arrivals(draw: st.DrawFn, history: History, *, looks: bool) -> list[Arrival]:
    """Draw how the events reach us, and a last look once everything has: at least three seconds after the last."""
    random = Random(draw(st.integers(0, 2**32)))
    lost, doubled = draw(st.sampled_from([0.0, 0.2, 1.0])), draw(st.sampled_from([0.0, 0.3]))
    slow = draw(st.sampled_from([0, 5, 200]))
    found: list[Arrival] = []
    for n, (when, thing) in enumerate(history.events()):
        if random.random() < lost:
            continue
        reading = history.reading(thing, when)
        second = when + random.uniform(0, slow)
        found.append(Arrival(second, reading, f"event-{n}"))
        if random.random() < doubled:
            found.append(Arrival(second + random.uniform(0, slow), reading, f"event-{n}", again=True))
    if looks:
        for n in range(random.randint(0, 5)):
            second = random.uniform(0, history.lasts + slow)
            found.append(Arrival(second, history.look(second), f"look-{n}", look=True))
    found.sort(key=lambda arrival: arrival.second)
    return found


def evidence(arrival: Arrival, trust: Trust) -> Evidence:
    instant = at(arrival.second)
    if arrival.look:
        return Evidence(arrival.name, EvidenceKind.FETCH, instant, instant, "look", None, instant)
    return Evidence(arrival.name, EvidenceKind.DELIVERY, instant, instant, "delivery", trust, None, not arrival.again)


def play(found: list[Arrival], trust: Trust) -> WorkflowState:
    """Merge arrivals, one after the other, into a workflow nobody had heard of."""
    state = new_state("civ", "wf", at(0), "delivery")
    for arrival in found:
        merge(state, arrival.reading, evidence(arrival, trust))
    return state


def settled_view(state: WorkflowState) -> dict[str, object]:
    """What must not depend on the order, repetition and loss of events once a look has followed (R5)."""
    view: dict[str, object] = {}
    for node in [state.node, *state.children()]:
        view[f"{node.level}:{node.key}"] = (
            node.status, node.upstream_status, node.started_at, node.completed_at, node.facts.get("output"),
        )  # fmt: skip
    for blob in state.blobs.values():
        view[f"blob:{blob.id}"] = (blob.available, blob.url, blob.url_expires_at, blob.url_confirmed, blob.step)
    return view


def event_facts(state: WorkflowState) -> dict[str, object]:
    """What only events carry: it equals that of the events that arrived, in whatever order."""
    nodes = [state.node, *state.children()]
    return {f"{n.level}:{n.key}": (n.reason, n.blocked_reason, n.facts.get("preparation")) for n in nodes}
