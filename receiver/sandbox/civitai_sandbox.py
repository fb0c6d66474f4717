"""The Civitai sandbox put together: what it tells, whom, and who lies in its name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.civitai_json import Renderer, truth_of
from receiver.sandbox.civitai_plan import ENDED
from receiver.sandbox.civitai_records import Change, Workflow
from receiver.sandbox.civitai_template import Callback
from receiver.sandbox.civitai_world import World
from receiver.sandbox.clock import stamp
from receiver.sandbox.deliveries import Envelope, with_token
from receiver.sandbox.engine import Engine
from receiver.sandbox.wire import encode


class CivitaiSandbox(Engine):
    """Workflows of steps and jobs, with the callbacks and the long waits of this upstream."""

    faults: CivitaiFaults
    world: World

    def __init__(self, faults: CivitaiFaults) -> None:
        super().__init__(faults)
        self.world = World(faults, self._on_change)
        self.renderer = Renderer(faults, self.signer, self.public_url)
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._lied_about: set[str] = set()

    def end_waits(self) -> None:
        """Every `wait` returns at once, with what is known."""
        super().end_waits()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.set()

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

    def example(self) -> str:
        """A curl command that submits."""
        body = '{"steps":[{"$type":"echo","input":{"message":"hello"}}]}'
        headers = f"-H 'Authorization: Bearer {self.faults.api_key}' -H 'Content-Type: application/json'"
        return f"curl {headers} -d '{body}' {self.base_url}/v2/consumer/workflows"

    def truths(self) -> list[dict[str, Any]]:
        """See `civitai_json.truth_of`."""
        now, world = self.clock.now(), self.world
        return [truth_of(w, now, world.is_visible(w, now)) for w in world.workflows.values()]

    def finish(self, workflow_id: str, status: str = "succeeded", reason: str | None = None) -> None:
        """Its open steps end now; what depends on a failed one is canceled."""
        if status not in ENDED:
            raise ValueError(f"the status is one of {', '.join(ENDED)}")
        self.world.finish(self.world.workflows[workflow_id], self.clock.now(), status, reason)

    def purge(self, wanted: Mapping[str, Any]) -> None:
        """See Engine."""
        target = self.world.workflows.get(str(wanted.get("workflow"))) or self.world.blobs[str(wanted.get("blob"))]
        target.purged = True

    def _on_change(self, change: Change) -> None:
        for watcher in self._watchers.get(change.workflow.id, ()):
            watcher.set()
        bodies: dict[bool, bytes] = {}
        for callback in change.workflow.callbacks:
            if not callback.wants(change.level, change.status):
                continue
            if callback.detailed not in bodies:
                bodies[callback.detailed] = self.renderer.event(change, detailed=callback.detailed)
            envelope = Envelope(
                change.workflow.id,
                callback.url,
                bodies[callback.detailed],
                _label(change),
                number=change.workflow.number,
            )
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
