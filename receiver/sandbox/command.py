"""`hookledger sandbox UPSTREAM`: a stand-in for it on this machine."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from receiver.sandbox.civitai_faults import CivitaiFaults
from receiver.sandbox.faults import BadKnob, read_flag
from receiver.sandbox.tasks_faults import (
    BeebleFaults,
    EvolinkFaults,
    FalFaults,
    OpenaiFaults,
    RemovebgvideoFaults,
    ReplicateFaults,
)
from receiver.sandbox.upstream_faults import UpstreamFaults


class WrongOption(click.ClickException):
    """One line and exit 2, without the usage around it."""

    exit_code = 2


def knob_options(knobs: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """One option per knob of a faults dataclass, read later by the knob's own reader."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for field in reversed(dataclasses.fields(knobs)):
            flag, default = field.name.replace("_", "-"), field.metadata["default"]
            sentence = field.metadata["help"]
            text = f"{sentence[0].upper()}{sentence[1:]}." + ("" if default in (None, "0") else f" Default: {default}.")
            if field.metadata["read"] is read_flag:
                command = click.option(f"--{flag}/--no-{flag}", field.name, default=None, help=text)(command)
            else:
                command = click.option(f"--{flag}", field.name, metavar="VALUE", default=None, help=text)(command)
        return command

    return add


@click.group()
def sandbox() -> None:
    """Stand-in upstreams for development, with faults on demand."""


@dataclass(frozen=True, slots=True)
class Stand:
    """One stand-in: its knobs, what it stands for, its usual port, and where its opener is."""

    knobs: type[UpstreamFaults]
    what: str
    port: int
    opener: str


STANDS = {
    "civitai": Stand(CivitaiFaults, "the Civitai orchestrator", 9001, "receiver.sandbox.civitai:running_civitai"),
    "beeble": Stand(BeebleFaults, "Beeble's SwitchX API", 9002, "receiver.sandbox.beeble:running_beeble"),
    "evolink": Stand(EvolinkFaults, "EvoLink's unified task API", 9003, "receiver.sandbox.evolink:running_evolink"),
    "removebgvideo": Stand(
        RemovebgvideoFaults, "RemoveBGVideo", 9004, "receiver.sandbox.removebgvideo:running_removebgvideo"
    ),
    "fal": Stand(FalFaults, "fal's queue", 9005, "receiver.sandbox.fal:running_fal"),
    "replicate": Stand(ReplicateFaults, "Replicate", 9006, "receiver.sandbox.replicate:running_replicate"),
    "openai": Stand(OpenaiFaults, "OpenAI's background responses", 9007, "receiver.sandbox.openai:running_openai"),
}
HELP = """A stand-in for {what}.

How often something goes wrong is a share (0.1 or 10%) or a number of times (3). Times are seconds.

Callbacks to plain http are taken, because this is for loopback; --no-allow-http refuses them as the real one does.

What is true, what happened, and changing the faults while it runs: /_sandbox/truth, /_sandbox/log and
/_sandbox/faults.
"""


def _stand_command(name: str, stand: Stand) -> click.Command:
    @click.command(name, help=HELP.format(what=stand.what))
    @click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
    @click.option(
        "--port", type=click.IntRange(0, 65535), default=stand.port, show_default=True, help="0 takes a free one."
    )
    @knob_options(stand.knobs)
    def run(host: str, port: int, **given: Any) -> None:
        knobs = {name: value for name, value in given.items() if value is not None}
        try:
            asyncio.run(_serve_until_signal(name, host, port, knobs))
        except BadKnob as problem:
            option = "--" + problem.name.replace("_", "-")
            raise WrongOption(str(problem).replace(problem.name, option, 1)) from None
        except OSError as problem:
            raise WrongOption(f"cannot listen on {host} port {port}: {problem.strerror or problem}") from None

    return run


for _name, _stand in STANDS.items():
    sandbox.add_command(_stand_command(_name, _stand))


async def _serve_until_signal(name: str, host: str, port: int, knobs: dict[str, Any]) -> None:
    # Here, so that every other command starts without loading a web server and an HTTP client.
    module, _, attribute = STANDS[name].opener.partition(":")
    opener = getattr(importlib.import_module(module), attribute)

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with opener(host=host, port=port, **knobs) as upstream:
        where = f"{name} sandbox at {upstream.base_url}, key {upstream.api_key}"
        click.echo(f"{where}; submit with: {upstream.sandbox.example()}")
        await stop.wait()
