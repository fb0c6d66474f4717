"""The sandbox put together: clock, world, callbacks and logs behind the HTTP routes. One scheduler moves everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from datetime import timedelta
from typing import Any

from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.civitai_json import Renderer, encode, truth_of
from receiver.sandbox.civitai_media import UrlSigner
from receiver.sandbox.civitai_records import Change, Workflow
from receiver.sandbox.civitai_template import Callback
from receiver.sandbox.civitai_world import World
from receiver.sandbox.clock import Clock, stamp
from receiver.sandbox.deliveries import Dispatcher, Envelope, Post, with_token
from receiver.sandbox.faults import BadKnob, seeded

LOG_LIMIT = 100_000
BATCH = 200
FIXED = frozenset({"seed", "concurrency", "clock_skew"})


class CivitaiSandbox:
    """Start it inside the loop that serves it; `stop` ends every task it began."""

    def __init__(self, faults: CivitaiFaults) -> None:
        self.faults = faults
        self.base_url = ""
        self.clock = Clock(faults.clock_skew)
        self.world = World(faults, self._on_change)
        self.signer = UrlSigner(f"sandbox-{faults.seed}".encode())
        self.renderer = Renderer(faults, self.signer, self.public_url)
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LIMIT)
        self.callbacks: deque[dict[str, Any]] = deque(maxlen=LOG_LIMIT)
        self.rngs = {name: seeded(faults.seed, name) for name in ("read", "submit", "forge", "forge_ending")}
        self._dispatcher = Dispatcher(faults, self._record_callback, self.outage_left)
        self.post = Post(faults, self._dispatcher)
        self._wake = asyncio.Event()
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._scheduler: asyncio.Task[None] | None = None
        self._outage_began = self.clock.now()
        self._lied_about: set[str] = set()
        self.closing = False

    def public_url(self) -> str:
        """What blob URLs begin with."""
        return (self.faults.public_url or self.base_url).rstrip("/")

    async def start(self) -> None:
        """Begin to move time and to send callbacks."""
        await self._dispatcher.start()
        self._scheduler = asyncio.create_task(self._run())

    def end_waits(self) -> None:
        """Every `wait` returns at once, with what is known."""
        self.closing = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.set()

    async def stop(self) -> None:
        """End every wait, task and connection."""
        self.end_waits()
        if self._scheduler is not None:
            self._scheduler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._scheduler
        self.post.stop()
        await self._dispatcher.stop()

    def set_faults(self, values: dict[str, Any]) -> None:
        """Change knobs at run time; BadKnob when one is wrong. An outage counts from now."""
        for name in FIXED & set(values):
            raise BadKnob(name, "can be set at the start only")
        self.faults.update(values)
        if "outage" in values:
            self._outage_began = self.clock.now()
        self._wake.set()

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self.clock.advance(seconds)
        self.catch_up()

    def catch_up(self) -> None:
        """Apply all that is due, so that an answer never shows a world older than its `Date`."""
        self.world.advance(self.clock.now())
        self._wake.set()

    def outage_left(self) -> float:
        """Seconds until the outage ends; 0 when there is none now."""
        outage = self.faults.outage
        if outage is None:
            return 0.0
        since = (self.clock.now() - self._outage_began).total_seconds()
        return outage.start + outage.duration - since if outage.covers(since) else 0.0

    async def watch(self, workflow: Workflow, seconds: float, *, until_change: bool) -> None:
        """Return when the workflow has ended (or changed at all), or after that many seconds."""
        watcher = asyncio.Event()
        self._watchers.setdefault(workflow.id, set()).add(watcher)
        seen = workflow.revision
        try:
            async with asyncio.timeout(seconds):
                while not (workflow.ended or self.closing or (until_change and workflow.revision != seen)):
                    await watcher.wait()
                    watcher.clear()
        except TimeoutError:
            pass
        finally:
            self._watchers[workflow.id].discard(watcher)
            if not self._watchers[workflow.id]:
                del self._watchers[workflow.id]

    # What the control surface shows

    def truth(self) -> dict[str, Any]:
        """`{"now", "settled", "workflows": […]}`, oldest first."""
        self.catch_up()
        now, world = self.clock.now(), self.world
        shown = [truth_of(w, now, world.is_visible(w, now)) for w in world.workflows.values()]
        return {"now": stamp(now), "settled": world.open == 0, "workflows": shown}

    def log(self) -> dict[str, Any]:
        """`{"requests": […], "callbacks": […]}`, oldest first, the newest 100 000 of each."""
        return {"requests": list(self.requests), "callbacks": list(self.callbacks)}

    def quiet(self) -> dict[str, Any]:
        """`{"quiet", "open", "pending_callbacks"}`."""
        self.catch_up()
        pending = self.post.pending
        return {"quiet": self.world.open == 0 and pending == 0, "open": self.world.open, "pending_callbacks": pending}

    # Inside

    async def _run(self) -> None:
        while True:
            applied = self.world.advance(self.clock.now(), BATCH)
            if applied == BATCH:
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            next_at = self.world.next_at()
            wait = None if next_at is None else max((next_at - self.clock.now()).total_seconds(), 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    def _record_callback(self, line: dict[str, Any]) -> None:
        self.callbacks.append({"time": stamp(self.clock.now()), **line})

    def _on_change(self, change: Change) -> None:
        for watcher in self._watchers.get(change.workflow.id, ()):
            watcher.set()
        bodies: dict[bool, bytes] = {}
        for callback in change.workflow.callbacks:
            if not callback.wants(change.level, change.status):
                continue
            if callback.detailed not in bodies:
                bodies[callback.detailed] = self.renderer.event(change, detailed=callback.detailed)
            envelope = Envelope(change.workflow.id, callback.url, bodies[callback.detailed], _label(change))
            self.post.post(envelope)
            self._forge(change, callback, envelope)

    def _forge(self, change: Change, callback: Callback, true_one: Envelope) -> None:
        rng = self.rngs["forge"]
        if self.faults.forge.hit(rng):
            kind = rng.choice(("wrong-token", "missing-token"))
            invented = rng.random() < 0.3
            workflow_id = f"1-{rng.randrange(10**17):017d}" if invented else change.workflow.id
            url = with_token(callback.url, "forged" if kind == "wrong-token" else None)
            word = rng.choice(("succeeded", "failed", "canceled", "expired"))
            self._post_lie(workflow_id, url, word, kind, change)
        if change.level == "workflow" and change.status == "processing" and change.workflow.id not in self._lied_about:
            self._lied_about.add(change.workflow.id)
            if self.faults.forge_ending.hit(self.rngs["forge_ending"]):
                fails = any(step.fate.end != "succeeded" for step in change.workflow.steps)
                word = "succeeded" if fails else "failed"
                self._post_lie(change.workflow.id, callback.url, word, "ending", change)

    def _post_lie(self, workflow_id: str, url: str, word: str, kind: str, change: Change) -> None:
        """A well-formed detailed workflow event that is not true, with a blob that leads astray."""
        at = change.at + timedelta(milliseconds=1)
        blob = {"type": "image", "id": "FORGED00000000000000000000.png", "available": True}
        blob |= {"url": "https://forged.example.invalid/x.png", "urlExpiresAt": stamp(at + timedelta(days=1))}
        steps: list[dict[str, Any]] = [{"name": step.name, "status": word} for step in change.workflow.steps]
        if word == "succeeded":
            steps[0]["output"] = {"images": [blob]}
        details = {"createdAt": stamp(change.workflow.created_at), "completedAt": stamp(at), "steps": steps}
        body = {"$type": "workflow", "workflowId": workflow_id, "status": word, "timestamp": stamp(at)}
        label = {"level": "workflow", "workflow": workflow_id, "step": None, "job": None, "status": word}
        lie = encode({**body, "details": details})
        self.post.post_forged(Envelope(change.workflow.id, url, lie, label, forged=kind))


def _label(change: Change) -> dict[str, Any]:
    return {
        "level": change.level,
        "workflow": change.workflow.id,
        "step": change.step.name if change.step else None,
        "job": change.job.id if change.job else None,
        "status": change.status,
    }
