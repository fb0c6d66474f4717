"""What every single-task stand-in has in common: the control surface, the faults, the command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from sandbox_client import commanded, echo, strangers_of
from task_client import Box, Client, lines

from receiver.sandbox.beeble import running_beeble
from receiver.sandbox.civitai import running_civitai
from receiver.sandbox.command import STANDS, sandbox
from receiver.sandbox.evolink import running_evolink
from receiver.sandbox.fal import running_fal
from receiver.sandbox.faults import BadKnob
from receiver.sandbox.openai import running_openai
from receiver.sandbox.removebgvideo import running_removebgvideo
from receiver.sandbox.replicate import running_replicate


@dataclass(frozen=True)
class Kind:
    """How one stand-in is started, submitted to and read."""

    opener: Any
    header: str
    submit: str
    read: str
    body: Mapping[str, Any]
    field: str = "callback_url"
    knobs: Mapping[str, Any] | None = None
    id: str = "id"

    def open(self, box: Box, **knobs: Any) -> Any:
        project = {"webhook_url": box.hook} if self.field == "background" else {}
        return self.opener(**{"speed": 500, **project, **(self.knobs or {}), **knobs})

    def client(self, session: aiohttp.ClientSession, upstream: Any) -> Client:
        name, _, rest = self.header.partition(" ")
        return Client(session, upstream, {name: f"{rest} {upstream.api_key}".strip()})

    async def make(self, api: Client, box: Box, **script: Any) -> str:
        path, body = self.submit, {**self.body, "sandbox": script}
        if self.field == "fal_webhook":
            path += f"?fal_webhook={box.hook.replace('?', '%3F')}"
        else:
            body[self.field] = True if self.field == "background" else box.hook
        return str((await api.post(path, body)).json[self.id])


NO_LIMITS = {"reads_per_minute": 0, "writes_per_minute": 0, "concurrent_jobs": 0}
IMAGE = {"generation_type": "image", "source_uri": "https://x.test/a.png", "alpha_mode": "auto", "prompt": "dusk"}
GENERATIONS = "/v1/switchx/generations"
BEARER = "Authorization Bearer"
KINDS = {
    "beeble": Kind(running_beeble, "x-api-key", GENERATIONS, GENERATIONS, IMAGE, knobs=NO_LIMITS),
    "evolink": Kind(running_evolink, BEARER, "/v1/images/generations", "/v1/tasks", {"model": "m"}),
    "removebgvideo": Kind(
        running_removebgvideo, "X-Api-Key", "/v1/jobs", "/v1/jobs", {"video_url": "https://x.test/a"}, "webhook_url"
    ),
    "fal": Kind(running_fal, "Authorization Key", "/a/b", "/a/b/requests", {}, "fal_webhook", id="request_id"),
    "replicate": Kind(
        running_replicate,
        *(BEARER, "/v1/predictions", "/v1/predictions"),
        {"input": {}, "webhook_events_filter": ["completed"]},
        "webhook",
        {"kept": 10**6},
    ),
    "openai": Kind(
        running_openai, BEARER, "/v1/responses", "/v1/responses", {"model": "m", "input": "x"}, "background"
    ),
}
every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@every
async def test_truth_log_and_quiet_have_the_shapes_of_civitais(
    session: aiohttp.ClientSession, box: Box, kind: Kind
) -> None:
    async with running_civitai(speed=500) as other:
        civitai = Client(session, other, {"Authorization": f"Bearer {other.api_key}"})
        hook = [{"url": box.hook, "type": ["workflow:succeeded"]}]
        await civitai.post("/v2/consumer/workflows?wait=5", {"steps": [echo()], "callbacks": hook})
        await other.wait_quiet()
        model = (other.truth(), other.log(), other.sandbox.quiet())
    async with kind.open(box) as upstream:
        api = kind.client(session, upstream)
        made = await kind.make(api, box, end="succeeded")
        await upstream.wait_quiet()
        truth, log, quiet = [(await api.get(f"/_sandbox/{name}", key=False)).json for name in ("truth", "log", "quiet")]
    assert truth.keys() == model[0].keys()
    assert truth["workflows"][0].keys() >= model[0]["workflows"][0].keys()
    assert log["requests"][0].keys() == model[1]["requests"][0].keys()
    assert log["callbacks"][0].keys() == model[1]["callbacks"][0].keys()
    assert log["callbacks"][-1]["event"].keys() >= model[1]["callbacks"][0]["event"].keys()
    assert quiet == model[2] == {"quiet": True, "open": 0, "pending_callbacks": 0}
    shown = truth["workflows"][0]
    assert (shown["id"], shown["canonical"], shown["settled"]) == (made, "succeeded", True)
    assert log["requests"][0]["authorized"] is True


@every
async def test_drops_copies_and_delays_happen_as_told(session: aiohttp.ClientSession, box: Box, kind: Kind) -> None:
    async with kind.open(box, drop=2, duplicate=1.0, delay=1, delay_seconds=5, reorder=1) as upstream:
        api = kind.client(session, upstream)
        for _ in range(6):
            await kind.make(api, box)
        await upstream.wait_quiet()
        told = {line["lane"].partition("#")[0] for line in lines(upstream, outcome="delivered")}
        assert len(lines(upstream, outcome="dropped")) == 2
        assert len(lines(upstream, copy=True)) == len(lines(upstream, copy=False, outcome="delivered"))
        assert len(lines(upstream, reordered=True)) == 1
        assert {w["canonical"] for w in upstream.truth()["workflows"]} == {"succeeded"}
    assert len(told) >= 4


@every
async def test_faults_change_at_run_time_and_say_what_would_be_right(
    session: aiohttp.ClientSession, box: Box, kind: Kind
) -> None:
    async with kind.open(box, api_key="hidden") as upstream:
        api = kind.client(session, upstream)
        shown = (await api.post("/_sandbox/faults", {"fail": 1.0, "callback_ladder": [1, 2]}, key=False)).json
        assert (shown["fail"], shown["callback_ladder"]) == (1.0, [1, 2])
        assert "hidden" not in str(shown)
        assert "signing_secret" not in shown
        wrong = await api.post("/_sandbox/faults", {"callback_ladder": "1,x"}, key=False)
        assert "callback_ladder cannot be '1,x': it takes seconds before each retry" in wrong.json["error"]
        made = await kind.make(api, box)
        await upstream.wait_quiet()
        assert upstream.truth()["workflows"][0]["canonical"] == "failed"
        again = await api.post("/_sandbox/finish", {"workflow": made, "status": "expired"}, key=False)
        assert (again.status, "the status is one of succeeded, failed" in again.json["error"]) == (400, True)
        assert (await api.post("/_sandbox/purge", {"workflow": made}, key=False)).status == 200
        assert (await api.get(f"{kind.read}/{made}")).status == 404
    with pytest.raises(BadKnob, match="dorp is no knob"):
        async with kind.open(box, dorp=1):
            pass


@every
async def test_submits_are_refused_as_told_and_reads_need_the_key(
    session: aiohttp.ClientSession, box: Box, kind: Kind
) -> None:
    async with kind.open(box, submit_429=1, submit_503=1, retry_after=3) as upstream:
        api = kind.client(session, upstream)
        busy = await api.post(kind.submit, dict(kind.body))
        assert (busy.status, busy.headers["retry-after"]) == (429, "3")
        assert (await api.post(kind.submit, dict(kind.body))).status == 503
        assert upstream.truth()["workflows"] == []
        assert (await api.post(kind.submit, dict(kind.body))).status in (200, 201)
        assert (await api.get(f"{kind.read}/x", key=False)).status == 401
        upstream.set_faults(revoked=True)
        assert (await api.get(f"{kind.read}/x")).status == 401


@every
async def test_hostile_bodies_are_a_400(session: aiohttp.ClientSession, box: Box, kind: Kind) -> None:
    async with kind.open(box) as upstream:
        api = kind.client(session, upstream)
        for body in (b"", b"[]", b"nul\0", b"[" * 100_000, b"7", b"\xff"):
            assert (await api.post(kind.submit, body)).status == 400, body[:20]
        assert (await api.post(kind.submit, {**kind.body, "sandbox": {"end": "vanished"}})).status == 400
        assert upstream.truth()["workflows"] == []


@every
async def test_an_undocumented_status_word_passes_by(session: aiohttp.ClientSession, box: Box, kind: Kind) -> None:
    async with kind.open(box, speed=1, unknown_status=1.0) as upstream:
        api = kind.client(session, upstream)
        made, words = await kind.make(api, box, seconds=50), set()
        while not upstream.truth()["settled"]:
            words.add(upstream.truth()["workflows"][0]["status"])
            assert (await api.get(f"{kind.read}/{made}")).status in (200, 400)
            upstream.advance(1)
        assert words & {"moderating", "paused", "post_processing"}
        assert upstream.truth()["workflows"][0]["canonical"] == "succeeded"


@every
async def test_the_same_seed_gives_the_same_fates(session: aiohttp.ClientSession, box: Box, kind: Kind) -> None:
    async def fates(seed: int) -> list[Any]:
        async with kind.open(box, seed=seed, fail=0.5) as upstream:
            api = kind.client(session, upstream)
            for _ in range(8):
                await kind.make(api, box)
            await upstream.wait_quiet()
            return [(w["id"][-4:], w["canonical"], w["error"]) for w in upstream.truth()["workflows"]]

    first, again, other = await fates(1), await fates(1), await fates(2)
    assert first == again != other


@pytest.mark.parametrize("name", [name for name in STANDS if name != "civitai"])
async def test_the_command_prints_a_line_that_works_and_leaves_on_sigterm(name: str) -> None:
    async with commanded(name, "--speed", "100") as line:
        assert line.startswith(f"{name} sandbox at http://127.0.0.1:"), line
        words = shlex.split(line.partition("submit with: ")[2])
        header, data, url = words[2], words[4], words[5]
        headers = dict([header.split(": ", 1)])
        async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
            assert answer.status in (200, 201), await answer.text()


@pytest.mark.parametrize("name", STANDS)
def test_a_wrong_option_is_one_clear_line_and_exit_2(name: str) -> None:
    result = CliRunner().invoke(sandbox, [name, "--port", "0", "--callback-ladder", "1,x"])
    assert result.exit_code == 2
    assert result.output.strip().startswith("Error: --callback-ladder cannot be '1,x'")


def test_no_stand_in_loads_what_it_is_there_to_test() -> None:
    assert strangers_of(*(stand.opener.partition(":")[0] for stand in STANDS.values())) == "[]"
