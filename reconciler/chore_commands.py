"""`hookledger backfill` and `hookledger audit`: the chores that ask upstream, on demand and from cron."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import click

from receiver.commands.opening import DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.commands.stopping import stopping
from receiver.commands.tables import counted, print_table
from receiver.config import Config
from receiver.config.units import positive_duration
from receiver.logs import setup_logging
from receiver.redaction import Redactor
from reconciler.audit import SAMPLE, WITHIN, AuditReport, audit
from reconciler.backfill import BackfillReport, CannotList, backfill


@click.command("backfill")
@click.argument("source")
@click.option("--since", default="72h", show_default=True, help="How far back to list.")
@click.option("--dry-run", is_flag=True, help="Ask upstream, print what would be taken in, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def backfill_command(ctx: click.Context, source: str, since: str, dry_run: bool, as_json: bool) -> None:
    """List what was submitted upstream lately, and take in what no callback ever mentioned.

    A run that was killed is gone on with by the next one. Exits with 1 when something was left undone.
    """
    config = configured(ctx)
    look_back = _span(since, "--since")
    redactor = Redactor(config.secret_values())
    setup_logging(redactor, "warning")
    run(_backfill(config, redactor, source, look_back, dry_run=dry_run, as_json=as_json))


def _span(text: str, option: str) -> timedelta:
    try:
        return positive_duration(text)
    except ValueError as error:
        fail(f"{option}: {error}")


async def _backfill(
    config: Config, redactor: Redactor, source: str, look_back: timedelta, *, dry_run: bool, as_json: bool
) -> int:
    config.source(source)
    async with ledger(config, upgrade_sqlite=not dry_run) as database:
        with stopping() as stop:
            try:
                report = await backfill(config, database, redactor, source, look_back, dry_run=dry_run, stop=stop)
            except CannotList as error:
                fail(str(error))
    assert report is not None
    if as_json:
        print_json(report.as_json(), redactor)
    else:
        _tell_backfill(report, redactor, dry_run)
    return SOME_FAILED if report.incomplete else DONE


def _tell_backfill(report: BackfillReport, redactor: Redactor, dry_run: bool) -> None:
    if dry_run and report.planned:
        print_table(("do", "id", "status", "upstream"), report.planned, redactor)
    done = f"{len(report.planned)} to take in; nothing was changed" if dry_run else (
        f"{report.adopted} new, {report.forward} brought forward, {report.failed} could not be written"
    )  # fmt: skip
    said = f": {report.message}" if report.message else ""
    click.echo(
        redactor.text(
            f"{report.listed} listed on {counted(report.pages, 'page')}, {report.known} as known, "
            f"{report.unreadable} unreadable; {done} ({report.outcome}{said})"
        )
    )


@click.command("audit")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this source; may be given again.")
@click.option("--sample", type=click.IntRange(1, 10_000), default=SAMPLE, show_default=True, help="How many of each.")
@click.option("--within", default=f"{WITHIN.days}d", show_default=True, help="Of those first seen within this time.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def audit_command(ctx: click.Context, sources: tuple[str, ...], sample: int, within: str, as_json: bool) -> None:
    """Ask upstream about a sample of settled workflows again, and say how much has drifted.

    Settled are those whose confirmed ending is at least 10 minutes old.
    Gaps are filled; a confirmed ending is never moved, what disputes it is recorded. Exits with 1 when something could
    not be asked.
    """
    config = configured(ctx)
    if not config.sources:
        fail(config.advice())
    span = _span(within, "--within")
    redactor = Redactor(config.secret_values())
    setup_logging(redactor, "warning")
    run(_audit(config, redactor, sources or tuple(sorted(config.sources)), sample, span, as_json=as_json))


async def _audit(
    config: Config, redactor: Redactor, sources: tuple[str, ...], sample: int, within: timedelta, *, as_json: bool
) -> int:
    for name in sources:
        config.source(name)
    reports: list[AuditReport] = []
    async with ledger(config) as database:
        with stopping() as stop:
            for name in sources:
                report = await audit(config, database, redactor, name, sample=sample, within=within, stop=stop)
                assert report is not None
                reports.append(report)
                await asyncio.sleep(0)
    if as_json:
        print_json({"items": [one.as_json() for one in reports]}, redactor)
    else:
        _tell_audits(reports, redactor)
    return SOME_FAILED if any(one.outcome != "done" or one.counts["failed"] for one in reports) else DONE


def _tell_audits(reports: list[AuditReport], redactor: Redactor) -> None:
    columns = ("source", "asked", "same", "filled", "contradicted", "moved", "gone", "failed", "drift", "outcome")
    rows = [one.as_json() for one in reports]
    for row in rows:
        row["drift"] = "-" if row["drift"] is None else f"{row['drift']:.1%}"
    print_table(columns, rows, redactor)
    drifted = [{"source": report.source, **one} for report in reports for one in report.drifted]
    if drifted:
        print_table(("source", "id", "how", "what", "evidence"), drifted, redactor, "not the same")
