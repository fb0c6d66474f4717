"""The demo's command: stage, story, verdict."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from reconciler.demo.comparing import Comparison, compare, every_workflow
from reconciler.demo.programs import DemoFailed, Stage, login_link, staged
from reconciler.demo.submitting import SPREAD, submit_all
from reconciler.demo.upstreams import UPSTREAMS, URL_TTL

# How long everything may take to come to rest after the last submission.
PATIENCE = 75.0


@click.command()
@click.option("--once", is_flag=True, help="End after the table instead of staying up.")
@click.option("--workflows", type=click.IntRange(1, 2000), default=200, show_default=True, help="How many to submit.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same faults.")
def demo(once: bool, workflows: int, seed: int) -> None:
    """The whole story on this machine: callbacks lost, doubled, reordered and forged, URLs that die after 20 s.

    Starts stand-ins for four upstreams and hookledger on SQLite in a temporary folder, submits workflows, and compares
    what hookledger says in the end with what is true. Exits with 1 if one workflow, step, job or blob differs.
    """
    try:
        sys.exit(asyncio.run(_demo(Console(), once, workflows, seed)))
    except DemoFailed as error:
        click.echo(f"hookledger: the demo stopped: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)


def _end_on_signals() -> None:
    """Have SIGTERM, and SIGINT also where a shell has it ignored in the background, end this task and its programs."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _demo(console: Console, once: bool, count: int, seed: int) -> int:
    _end_on_signals()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hookledger-demo-") as folder:
        names = ", ".join(one.name for one in UPSTREAMS)
        console.print(f"Starting stand-ins for {names}, and hookledger on SQLite in {folder} …", soft_wrap=True)
        async with staged(Path(folder), seed) as stage, aiohttp.ClientSession() as session:
            console.print(
                f"Submitting {count} workflows; of their callbacks 10 % get lost, 20 % come twice, some come out of"
                f" order, some are forged; result URLs live {URL_TTL} s. In about a minute all of it is known.",
                soft_wrap=True,
            )
            submitting = asyncio.create_task(submit_all(session, stage, count, seed))
            settled = await _watch(console, session, stage, submitting, count)
            await submitting
            verdict = await compare(session, stage)
            await _report(console, session, stage, verdict, time.monotonic() - started)
            if not settled:
                verdict.differences.append(f"not everything came to rest within {PATIENCE:.0f} s")
            for difference in verdict.differences[:20]:
                console.print(f"  [red]differs[/red] {difference}", highlight=False)
            console.print(f"[bold]{len(verdict.differences)} differences[/bold]")
            if not once:
                await _stay(console, stage)
    return 1 if verdict.differences else 0


async def _watch(
    console: Console, session: aiohttp.ClientSession, stage: Stage, submitting: asyncio.Task[None], count: int
) -> bool:
    """Show the statuses as they change until upstream is quiet and the ledger has settled; False when time is up."""
    ends = time.monotonic() + SPREAD + PATIENCE
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while time.monotonic() < ends:
            if submitting.done():
                submitting.result()
            listed = await every_workflow(session, stage)
            live.update(_line(listed, count))
            open_ones = [one for one in listed if not one["terminal"] or one["confirmed_at"] is None]
            if submitting.done() and not open_ones and await _quiet(session, stage) and await _children(session, stage):
                return True
            await asyncio.sleep(0.5)
    return False


async def _quiet(session: aiohttp.ClientSession, stage: Stage) -> bool:
    for url in stage.upstreams.values():
        async with session.get(f"{url}/_sandbox/quiet") as answer:
            if not (await answer.json())["quiet"]:
                return False
    return True


async def _children(session: aiohttp.ClientSession, stage: Stage) -> bool:
    """Whether no step or job is open: an ended workflow may still wait for the look that settles its children."""
    listed = await every_workflow(session, stage)
    return all(part["terminal"] for one in listed for part in [*one["steps"], *one["jobs"]])


def _line(listed: list[dict[str, object]], count: int) -> Text:
    statuses = Counter(str(one["status"]) for one in listed)
    words = ", ".join(f"{number} {status}" for status, number in statuses.most_common())
    return Text(f"{len(listed)} of {count} known: {words}")


async def _report(
    console: Console, session: aiohttp.ClientSession, stage: Stage, verdict: Comparison, seconds: float
) -> None:
    calls, looks = [], 0
    for url in stage.upstreams.values():
        async with session.get(f"{url}/_sandbox/log") as answer:
            log = await answer.json()
        calls += log["callbacks"]
        looks += sum(one["method"] == "GET" and "/content/" not in one["path"] for one in log["requests"])
    table = Table(title="hookledger against the truth")
    for column in ("", "in truth", "differ", "endings"):
        table.add_column(column, justify="left" if column in ("", "endings") else "right")
    for level in ("workflow", "step", "job"):
        wrong = sum(one.startswith(f"{level} ") for one in verdict.differences)
        endings = ", ".join(f"{n} {status}" for status, n in verdict.statuses.get(level, Counter()).most_common())
        table.add_row(f"{level}s", str(verdict.counts[level]), str(wrong), endings)
    wrong = sum(one.startswith("blob ") for one in verdict.differences)
    served = f"{verdict.counts['blob served']} served from a URL that works now"
    table.add_row("blobs", str(verdict.counts["blob"]), str(wrong), served)
    console.print(table)
    outcome = Counter(call["outcome"] for call in calls)
    forged = Counter(call["forged"] for call in calls if call["forged"])
    doubled = sum(bool(call["copy"]) for call in calls)
    reordered = sum(bool(call["reordered"]) for call in calls)
    console.print(
        f"{outcome['delivered']} callbacks delivered, {outcome['dropped']} lost, {doubled} doubled, {reordered} out of"
        f" order, {forged['wrong-token'] + forged['missing-token']} forged without the token, {forged['ending']} forged"
        f" endings with it; {looks} reads of upstream; {seconds:.0f} s in all."
    )
    per_source = ", ".join(f"{verdict.counts[one.name]} of {one.name}" for one in UPSTREAMS)
    console.print(f"Workflows: {per_source}.")
    via = ", ".join(f"{n} by {word}" for word, n in verdict.told.most_common())
    console.print(f"Endings learned first: {via}.")


async def _stay(console: Console, stage: Stage) -> None:
    link = await login_link(stage)
    console.print(f"\nStill running; look around: [bold]{link}[/bold]", soft_wrap=True)
    console.print("  (this link logs one browser in, within 60 s; later, the token below does)")
    console.print(
        f'  curl -H "Authorization: Bearer {stage.token}" "{stage.receiver}/v1/workflows?limit=5"', soft_wrap=True
    )
    console.print(f"  hookledger --config {stage.folder}/hookledger.toml list", soft_wrap=True)
    console.print("Ctrl-C ends it and removes the folder.")
    await asyncio.Event().wait()
