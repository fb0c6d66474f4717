"""`hookledger reconcile` and `hookledger refetch` as a person or cron calls them: real processes, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.reconciler.world import KEY, Upstream, World, document, until


async def hookledger(world: World, *args: str, folder: Path | None = None) -> tuple[int, str, str]:
    """Run the command with the world's configuration; returns exit code, stdout and stderr."""
    process = await start(world, *args)
    out, err = await process.communicate()
    assert process.returncode is not None
    assert KEY not in (out + err).decode()
    return process.returncode, out.decode(), err.decode()


async def start(world: World, *args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "receiver", "--config", str(world.config.file), *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("HOOKLEDGER_")},
    )  # fmt: skip


async def test_a_pass_that_does_all_its_work_exits_0(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf"))
    await world.track("wf")
    code, out, err = await hookledger(world, "reconcile")
    assert code == 0, err
    assert out == "1 look: 1 answered, 0 unknown upstream, 0 failed (done)\n"
    (line,) = [json.loads(line) for line in err.splitlines() if '"fetch"' in line]
    assert line["id"] == "wf"
    assert "hideMatureContent" not in err
    assert await world.status("wf") == "succeeded"


async def test_a_pass_says_which_sources_it_could_not_ask(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (401, {})
    await world.track("wf")
    for _ in range(2):
        _, out, _ = await hookledger(world, "reconcile", "--open")
        assert out.endswith("paused, so only probed: civitai (credentials); `hookledger doctor` says what to do\n")
    _, out, _ = await hookledger(world, "reconcile", "--json")
    assert json.loads(out)["paused"] == {"civitai": "credentials"}


async def test_the_log_can_be_held_to_what_may_need_somebody(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf"))
    await world.track("wf")
    file = world.config.file
    assert file is not None
    file.write_text(file.read_text().replace("[server]", '[server]\nlog_level = "warning"', 1))
    assert '"warning"' in file.read_text()
    assert await hookledger(world, "reconcile") == (0, "1 look: 1 answered, 0 unknown upstream, 0 failed (done)\n", "")


async def test_a_pass_that_leaves_items_undone_exits_1(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (503, {}, {"retry-after": "30"})  # without it the next try may be due in the same pass
    await world.track("wf")
    code, out, _ = await hookledger(world, "reconcile", "--json")
    assert code == 1
    assert json.loads(out)["counts"]["busy"] == 1


async def test_a_pass_can_be_held_to_some_sources_and_a_limit(world: World, upstream: Upstream) -> None:
    for n in range(4):
        upstream.answers[f"/wf{n}"] = (200, document(f"wf{n}"))
        await world.track(f"wf{n}")
    code, out, _ = await hookledger(world, "reconcile", "--source", "civitai", "--limit", "2", "--json")
    assert (code, json.loads(out)["outcome"]) == (0, "limit")
    assert len(upstream.seen) == 2


async def test_a_dry_run_prints_what_it_would_do(world: World, upstream: Upstream) -> None:
    await world.track("wf")
    before = await world.everything()
    code, out, _ = await hookledger(world, "reconcile", "--dry-run")
    assert (code, out) == (0, "refetch civitai wf: fresh\n1 to do; nothing was changed\n")
    assert await world.everything() == before
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("reconcile", "--source", "nobody"), "no source is named 'nobody'; configured: civitai"),
        (("reconcile", "--limit", "0"), "0 is not in the range"),
        (("reconcile", "--watch", "--dry-run"), "--watch goes on until it is stopped: leave out"),
        (("refetch", "nobody", "wf"), "no source is named 'nobody'"),
        (("refetch", "civitai", "a/b"), "ID must be 1 to 256 printable characters"),
    ],
)
async def test_bad_input_is_one_clear_line_and_exit_2(
    world: World, upstream: Upstream, args: tuple[str, ...], said: str
) -> None:
    await world.track("wf")
    before = await world.everything()
    code, out, err = await hookledger(world, *args)
    assert code == 2
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert await world.everything() == before
    assert upstream.seen == []


async def test_refetch_looks_now_and_prints_what_it_found(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf", "failed"))
    await world.deliver("wf", "processing")  # nothing would be due for two minutes
    code, out, err = await hookledger(world, "refetch", "civitai", "wf", "--json")
    assert code == 0, err
    assert json.loads(out) == {
        "source": "civitai", "id": "wf", "answer": "shown", "status": "failed", "terminal": True, "message": "",
    }  # fmt: skip
    assert await world.status("wf") == "failed"


async def test_refetch_finds_a_workflow_the_ledger_has_never_heard_of(world: World, upstream: Upstream) -> None:
    upstream.answers["/new"] = (202, document("new", "scheduled"))
    code, out, _ = await hookledger(world, "refetch", "civitai", "new")
    assert (code, out) == (0, "civitai new: upstream answered: scheduled\n")
    assert await world.status("new") == "scheduled"


async def test_a_refetch_that_fails_exits_1_and_says_why(world: World, upstream: Upstream) -> None:
    await world.deliver("wf", "processing")
    for answer, said in (((404, {}), "404"), ((401, {}), "401"), ((503, {"title": "Down"}), "503: Down")):
        upstream.answers["/wf"] = answer
        code, out, err = await hookledger(world, "refetch", "civitai", "wf")
        assert (code, out) == (1, "")
        assert said in err
    code, _, err = await hookledger(world, "refetch", "civitai", "never-heard-of")
    assert code == 1
    assert await world.state("never-heard-of") is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_daemon_works_on_what_comes_and_stops_cleanly(
    world: World, upstream: Upstream, number: signal.Signals
) -> None:
    process = await start(world, "reconcile", "--watch")
    try:
        for n in range(3):
            upstream.answers[f"/wf{n}"] = (200, document(f"wf{n}"))
            await world.track(f"wf{n}")

            async def settled(name: str = f"wf{n}") -> bool:
                return await world.status(name) == "succeeded"

            await until(settled)
    finally:
        process.send_signal(number)
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out == b""
    events = [json.loads(line)["event"] for line in err.decode().splitlines()]
    assert events[0] == "reconciler-started"
    assert events[-1] == "reconciler-stopped"
