"""`hookledger prune` and `hookledger forget`: what has been kept long enough, and what must not be kept at all."""

from __future__ import annotations

from collections.abc import Mapping

import click

from receiver.commands.opening import COMMAND_LINE, DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.commands.stopping import stopping
from receiver.config import Config
from receiver.ledger import audit, forgetting
from receiver.ledger.database import now as database_now
from receiver.ledger.passlog import noted
from receiver.providers.ids import is_id
from receiver.pruning import Prune
from receiver.redaction import Redactor


@click.command()
@click.option("--dry-run", is_flag=True, help="Count what would go, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def prune(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Remove the evidence of workflows that ended longer ago than their source's `retention`.

    In short transactions with a pause after each. Open workflows, and those a person should look at, keep everything.
    """
    config = configured(ctx)
    if not config.sources:
        fail(config.advice())
    run(_prune(config, dry_run=dry_run, as_json=as_json))


async def _prune(config: Config, *, dry_run: bool, as_json: bool) -> int:
    async with ledger(config, upgrade_sqlite=not dry_run) as database:
        with stopping() as stop:
            work = Prune(config, database, dry_run=dry_run, stop=stop)
            if dry_run:
                await work.run()
            else:
                async with noted(database, "prune") as record:
                    try:
                        await work.run()
                    finally:
                        record.counts.update(work.counts)
                        record.outcome = "stopped" if work.stopped else "done"
    outcome = "stopped" if work.stopped else "done"
    counts = {name: count for name, count in sorted(work.counts.items()) if count}
    if as_json:
        print_json({"outcome": outcome, "dry_run": dry_run, "counts": counts}, Redactor(()))
    else:
        said = ", ".join(_counted(counts)) or "nothing"
        click.echo(f"{said} {'would go; nothing was changed' if dry_run else 'pruned'} ({outcome})")
    return SOME_FAILED if work.stopped else DONE


@click.command()
@click.argument("source")
@click.argument("workflow_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def forget(ctx: click.Context, source: str, workflow_id: str, as_json: bool) -> None:
    """Remove a workflow and everything that tells of it: prompts are personal data. There is no way back.

    Upstream is not told. A later delivery about the same id starts anew.
    """
    if not is_id(workflow_id):
        fail("ID must be 1 to 256 printable characters without '/', and neither '.' nor '..'")
    config = configured(ctx)
    run(_forget(config, Redactor(config.secret_values()), source, workflow_id, as_json=as_json))


async def _forget(config: Config, redactor: Redactor, source: str, workflow_id: str, *, as_json: bool) -> int:
    async with ledger(config, asking=True) as database, noted(database, "forget") as record:
        async with database.read() as connection:
            ids = sorted(await forgetting.evidence_of(connection, source, workflow_id))
            known = await forgetting.keys_of(connection, source, ids)
        async with database.write() as connection:
            removed = await forgetting.forget(connection, source, workflow_id, known)
            if removed is not None:
                at, subject = await database_now(connection), forgetting.FORGOTTEN
                await audit.note(connection, COMMAND_LINE, "forget", at, source=source, subject=subject)
        record.counts.update(removed or {})
    if removed is None:
        known_sources = (
            "" if source in config.sources else f"; configured: {', '.join(sorted(config.sources)) or 'none'}"
        )
        fail(f"nothing is known of {workflow_id!r} of source {source!r}{known_sources}", SOME_FAILED)
    if as_json:
        print_json({"source": source, "id": workflow_id, "removed": removed}, redactor)
    else:
        said = ", ".join(_counted(removed))
        click.echo(redactor.text(f"forgot {source}/{workflow_id}: {said}"))
    return DONE


def _counted(counts: Mapping[str, int]) -> list[str]:
    """Return counts of things named in the plural: "1 check", "2 checks"; none of what there is none of."""
    return [f"{count} {name.removesuffix('s') if count == 1 else name}" for name, count in counts.items() if count]
