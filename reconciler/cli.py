"""`hookledger reconcile` and `hookledger refetch`: the reconciler's commands.

They are commands like any other, so they open configuration and ledger, and end, as all commands do:
`receiver.commands.opening` is imported here, by `reconciler.doctor`, and by nothing else of the reconciler.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict

import click

from receiver.commands.opening import DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.commands.stopping import stopping
from receiver.commands.tables import counted
from receiver.config import Config, ConfigError
from receiver.ledger import queries
from receiver.logs import log_event, setup_logging
from receiver.memory import settle_memory
from receiver.providers.ids import is_id
from receiver.redaction import Redactor
from reconciler.healthz import Pulse, answering
from reconciler.loop import run_daemon, run_pass
from reconciler.ondemand import look_now
from reconciler.passes import PassReport


@click.command()
@click.option("--open", "open_only", is_flag=True, help="Look at every workflow that is not settled now, due or not.")
@click.option("--watch", is_flag=True, help="Go on until told to stop, as a daemon.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this source; may be given again.")
@click.option("--limit", type=click.IntRange(min=1), help="Take at most so many checks.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@click.option("--healthz", metavar="[HOST:]PORT", help="With --watch: answer /healthz there (default host 127.0.0.1).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def reconcile(
    ctx: click.Context,
    open_only: bool,
    watch: bool,
    sources: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
    healthz: str | None,
    as_json: bool,
) -> None:
    """Ask upstream about what is due: one pass and out, for cron, or --watch for a daemon."""
    if watch and (open_only or limit is not None or dry_run or as_json):
        fail("--watch goes on until it is stopped: leave out --open, --limit, --dry-run and --json")
    if healthz is not None and not watch:
        fail("--healthz tells whether the loop of --watch turns; a pass ends by itself")
    where = _address(healthz) if healthz is not None else None
    config = configured(ctx)
    if not config.sources:
        fail(config.advice())
    try:
        for name in sources:
            config.source(name)
    except ConfigError as error:
        fail(str(error))
    redactor = Redactor(config.secret_values())
    setup_logging(redactor, config.server.log_level)
    names = sources or None
    settle_memory()
    if watch:
        run(_watch(config, redactor, names, where))
    run(_pass(config, redactor, names, limit, open_only, dry_run, as_json))


def _address(text: str) -> tuple[str, int]:
    """Return host and port of `PORT` or `HOST:PORT`; leaves when it is neither."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        fail(f'--healthz "{text}": must be a port, such as 8081, or an address with one, such as 0.0.0.0:8081')
    return host.strip("[]") or "127.0.0.1", int(port)


async def _watch(
    config: Config, redactor: Redactor, sources: tuple[str, ...] | None, where: tuple[str, int] | None
) -> int:
    pulse = Pulse()
    async with ledger(config) as database, AsyncExitStack() as stack:
        if where is not None:
            try:
                port = await stack.enter_async_context(answering(*where, pulse))
            except OSError as error:
                fail(f"--healthz: cannot listen on {where[0]}:{where[1]}: {error.strerror or error}")
            log_event("answering-healthz", host=where[0], port=port)
        with stopping() as stop:
            await run_daemon(config, database, redactor, stop, beat=pulse.beat, sources=sources)
    return DONE


async def _pass(
    config: Config,
    redactor: Redactor,
    sources: tuple[str, ...] | None,
    limit: int | None,
    open_only: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    async with ledger(config, upgrade_sqlite=not dry_run) as database:
        with stopping() as stop:
            report = await run_pass(
                config,
                database,
                redactor,
                kind="open" if open_only else "cron",
                sources=sources,
                limit=limit,
                open_only=open_only,
                dry_run=dry_run,
                stop=stop,
            )
        async with database.read() as connection:
            states = await queries.source_states(connection)
    chosen = sources or tuple(config.sources)
    paused = {name: row["paused_because"] for name, row in sorted(states.items()) if name in chosen}
    paused = {name: because for name, because in paused.items() if because is not None}
    if as_json:
        print_json({**report.as_json(), "paused": paused}, redactor)
    else:
        _tell(report, dry_run)
        if paused:
            named = ", ".join(f"{name} ({because})" for name, because in paused.items())
            click.echo(f"paused, so only probed: {named}; `hookledger doctor` says what to do")
    return SOME_FAILED if report.failed or report.outcome == "stopped" else DONE


def _tell(report: PassReport, dry_run: bool) -> None:
    if dry_run:
        for one in report.planned:
            click.echo(f"{one['do']} {one['source']} {one['id']}: {one['why']}")
        click.echo(f"{len(report.planned)} to do; nothing was changed")
        return
    counts = report.counts
    relinks = f", {counts['relinks']} of them for one blob" if counts["relinks"] else ""
    click.echo(
        f"{counted(counts['looks'], 'look')}{relinks}: {counts['shown']} answered, {counts['gone']} unknown upstream, "
        f"{report.failed} failed ({report.outcome})"
    )


@click.command()
@click.argument("source")
@click.argument("workflow_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def refetch(ctx: click.Context, source: str, workflow_id: str, as_json: bool) -> None:
    """Ask upstream about one workflow now."""
    if not is_id(workflow_id):
        fail("ID must be 1 to 256 printable characters without '/', and neither '.' nor '..'")
    config = configured(ctx)
    redactor = Redactor(config.secret_values())
    setup_logging(redactor, "warning")
    run(_refetch(config, redactor, source, workflow_id, as_json))


async def _refetch(config: Config, redactor: Redactor, source: str, workflow_id: str, as_json: bool) -> int:
    config.source(source)
    async with ledger(config) as database:
        report = await look_now(config, database, redactor, source, workflow_id)
    if as_json:
        print_json(asdict(report), redactor)
    else:
        said = report.message or f"upstream answered: {report.status}"
        click.echo(redactor.text(f"{source} {workflow_id}: {said}"), err=report.failed)
    return SOME_FAILED if report.failed else DONE
