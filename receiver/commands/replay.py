"""`hookledger replay`: derive the ledger again from its evidence with today's code, and print the difference."""

from __future__ import annotations

import sys

import click
import orjson

from receiver.commands.opening import COMMAND_LINE, DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.commands.tables import plain
from receiver.config import Config, ConfigError
from receiver.ledger.query_parts import JsonObject
from receiver.logs import setup_logging
from receiver.redaction import Redactor
from receiver.replaying import Difference, Replay
from receiver.rereading import NotReplayable

_MOST_TOLD = 20  # differences of one workflow in the text for people
_LONGEST = 60  # characters of one value in it


@click.command()
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this source; may be given again.")
@click.option("--workflow", "ids", multiple=True, metavar="ID", help="Only this workflow; may be given again.")
@click.option("--apply", "applying", is_flag=True, help="Make the ledger what the evidence says today.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line for each difference, then a summary.")
@click.pass_context
def replay(ctx: click.Context, sources: tuple[str, ...], ids: tuple[str, ...], applying: bool, as_json: bool) -> None:
    """Derive the ledger again from all evidence with today's code, and print the difference.

    Exits with 1 when there is one. With --apply the difference is kept: the one way in which even a confirmed ending
    changes (rule 2). What was pruned cannot be replayed; it is counted, and is no difference.
    """
    config = configured(ctx)
    if not config.sources:
        fail(config.advice())
    redactor = Redactor(config.secret_values())
    setup_logging(redactor, "warning")
    try:
        run(_replay(config, redactor, sources or None, ids or None, applying, as_json))
    except ConfigError as error:
        fail(str(error))


async def _replay(
    config: Config,
    redactor: Redactor,
    sources: tuple[str, ...] | None,
    ids: tuple[str, ...] | None,
    applying: bool,
    as_json: bool,
) -> int:
    async with ledger(config, upgrade_sqlite=applying) as database:
        replay = Replay(config, database, sources, ids)
        failed = 0
        async for found in replay.differences():
            _tell(found, redactor, as_json)
            if applying:
                try:
                    await replay.correct(found, COMMAND_LINE)
                except NotReplayable as why:
                    failed += 1
                    click.echo(f"hookledger: {found.source}/{found.id}: not corrected: {why}", err=True)
    summary = {**replay.report.as_json(), "applied": applying}
    if as_json:
        print_json(summary, redactor)
    else:
        _sum_up(summary)
    if applying:
        return SOME_FAILED if failed else DONE
    return SOME_FAILED if summary["different"] else DONE


def _tell(found: Difference, redactor: Redactor, as_json: bool) -> None:
    if as_json:
        line = {"source": found.source, "id": found.id, "differences": found.differences}
        sys.stdout.write(redactor.bytes(orjson.dumps(line)).decode() + "\n")
        return
    click.echo(redactor.text(f"{found.source}/{plain(found.id)}"))
    for one in found.differences[:_MOST_TOLD]:
        told = redactor.json(one)
        click.echo(f"  {plain(told['what'])}: {_short(told['stored'])} -> {_short(told['derived'])}")
    if len(found.differences) > _MOST_TOLD:
        click.echo(f"  and {len(found.differences) - _MOST_TOLD} more")


def _short(value: object) -> str:
    text = plain(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _sum_up(summary: JsonObject) -> None:
    done = f", {summary['corrected']} corrected" if summary["applied"] else ""
    click.echo(
        f"{summary['workflows']} workflows from {summary['evidence']} pieces of evidence: "
        f"{summary['different']} different{done}, {summary['not_replayable']} not replayable"
    )
    for why, count in summary["why_not"].items():
        click.echo(f"  {count}: {why}")
