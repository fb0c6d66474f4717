"""`hookledger doctor`: looks at everything that is usually wrong, and says what to do.

A command like any other, so it reads the configuration and ends as all commands do.
"""

from __future__ import annotations

import asyncio

import click

from receiver.commands.opening import DONE, SOME_FAILED, configured, print_json, run
from receiver.commands.tables import counted, plain
from receiver.config import Config
from receiver.redaction import Redactor
from reconciler.examining import Finding, examine_database, examine_settings, examine_shelf
from reconciler.probing import examine_network

_MARKS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check configuration, database, clocks, public URL, credentials and tokens; say what to do.

    Exit code 0 when all is well (warnings are no problems), 1 with problems, 2 when the configuration cannot be read.
    """
    run(_doctor(configured(ctx), as_json=as_json))


async def _doctor(config: Config, *, as_json: bool) -> int:
    redactor = Redactor(config.secret_values())
    found = [*examine_settings(config), *await examine_shelf(config)]
    for more in await asyncio.gather(examine_database(config), examine_network(config, redactor)):
        found += more
    well = all(one.severity != "problem" for one in found)
    if as_json:
        print_json({"ok": well, "findings": [one.as_json() for one in found]}, redactor)
    else:
        _tell(found, redactor)
    return DONE if well else SOME_FAILED


def _tell(found: list[Finding], redactor: Redactor) -> None:
    for one in found:
        click.echo(f"{_MARKS[one.severity]} {plain(redactor.text(f'{one.about}: {one.said}'))}")
        if one.do is not None:
            click.echo(f"        do: {plain(redactor.text(one.do))}")
    problems = sum(one.severity == "problem" for one in found)
    warnings = sum(one.severity == "warning" for one in found)
    if problems or warnings:
        click.echo(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}")
    else:
        click.echo("all is well")
