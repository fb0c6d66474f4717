"""`hookledger import` and `hookledger verify`: evidence from elsewhere, and whether what is kept still holds."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import BinaryIO

import click

from receiver.commands.ask import instant_of
from receiver.commands.opening import DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.commands.tables import plain, print_table
from receiver.config import Config, ConfigError
from receiver.importing import Import
from receiver.ledger.passlog import noted
from receiver.ledger.records import Trust
from receiver.logs import setup_logging
from receiver.redaction import Redactor
from receiver.verifying import Verify
from receiver.web.inbound import kept_headers, query_of

_MOST_TOLD = 1000  # failures that are listed; all are counted


@click.command("import")
@click.argument("source")
@click.argument("file", metavar="FILE.jsonl", type=click.Path(dir_okay=False, exists=True, allow_dash=True))
@click.option("--vouch", is_flag=True, help="Take deliveries without the URL's token, which archives seldom hold.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def import_archive(ctx: click.Context, source: str, file: str, vouch: bool, as_json: bool) -> None:
    """Take in deliveries from an archive of JSON Lines, each as old as it says it is; `-` for standard input.

    A line is {"received_at": "2026-01-21T22:21:26Z", "headers": {…}, "body": "…"} with "body_base64" instead of "body"
    where it is no text, and "query" or "url" for the token. Signatures are checked as of that time. What is known
    already is a duplicate. Exits with 1 when some lines were not taken.
    """
    config = configured(ctx)
    try:
        trust = config.source(source).trust
    except ConfigError as error:
        fail(str(error))
    if trust is Trust.NONE:
        fail(f'source {source!r} has trust = "none": it takes no deliveries')
    if vouch and trust is not Trust.TOKEN:
        fail(f'--vouch stands for the token in the URL, and source {source!r} has trust = "{trust}"')
    redactor = Redactor(config.secret_values())
    setup_logging(redactor, "error")
    with nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb") as lines:  # noqa: PTH123 - beside stdin
        run(_import(config, redactor, source, lines, vouched=vouch, as_json=as_json))


async def _import(
    config: Config, redactor: Redactor, source: str, lines: BinaryIO, *, vouched: bool, as_json: bool
) -> int:
    told: list[dict[str, object]] = []
    async with ledger(config) as database, noted(database, "import") as record:
        work = Import(config, database, source, kept_headers=kept_headers, query_of=query_of, vouched=vouched)
        try:
            async for failed in work.failures(lines):
                if len(told) < _MOST_TOLD:
                    told.append({"line": failed.line, "problem": failed.problem})
                    if not as_json:
                        click.echo(redactor.text(f"line {failed.line}: {plain(failed.problem)}"), err=True)
        finally:
            record.counts.update(work.counts)
    counts = dict(sorted(work.counts.items()))
    if as_json:
        print_json({"source": source, "counts": counts, "failed": told}, redactor)
    else:
        click.echo(", ".join(f"{count} {name}" for name, count in counts.items()) or "0 lines")
    return SOME_FAILED if work.counts["failed"] else DONE


@click.command()
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this source; may be given again.")
@click.option("--since", help='Recorded since: an instant, or how long ago, such as "24h".')
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def verify(ctx: click.Context, sources: tuple[str, ...], since: str | None, as_json: bool) -> None:
    """Check stored hashes, dedupe keys and signatures again; list what does not hold, and exit with 1 if anything.

    Signatures are checked with the secrets that are configured today, so keep those you rotated out in
    `signing_secrets` for as long as you want to verify. Tokens of URLs are never stored.
    """
    config = configured(ctx)
    for name in sources:
        try:
            config.source(name)
        except ConfigError as error:
            fail(str(error))
    redactor = Redactor(config.secret_values())
    at = instant_of(since, datetime.now(UTC), "--since")
    run(_verify(config, redactor, sources or None, at, as_json=as_json))


async def _verify(
    config: Config, redactor: Redactor, sources: tuple[str, ...] | None, since: datetime | None, *, as_json: bool
) -> int:
    told: list[dict[str, object]] = []
    async with ledger(config, upgrade_sqlite=False) as database:
        work = Verify(config, database, sources, since)
        async for failure in work.failures():
            if len(told) < _MOST_TOLD:
                told.append(failure.as_json())
    counts = dict(sorted(work.counts.items()))
    if as_json:
        print_json({"counts": counts, "failed": told}, redactor)
    else:
        if told:
            print_table(("source", "workflow", "evidence", "problem"), told, redactor)
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if name not in ("failed", "rows"))
        click.echo(f"{work.counts['rows']} rows checked ({said or 'nothing to check'}): {work.counts['failed']} failed")
    return SOME_FAILED if work.counts["failed"] else DONE
