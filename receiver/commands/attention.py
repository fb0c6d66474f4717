"""`hookledger attention`: what needs a person, of sources, workflows and deliveries alike."""

from __future__ import annotations

import click

from receiver.acknowledging import acknowledge_row
from receiver.commands.opening import COMMAND_LINE, DONE, SOME_FAILED, configured, ledger, print_json, run
from receiver.commands.tables import print_table
from receiver.config import Config
from receiver.ledger.database import now
from receiver.ledger.listing import MOST
from receiver.ledger.overview import attention_by_kind
from receiver.redaction import Redactor

_COLUMNS = ("kind", "source", "scope", "subject", "status", "since", "note", "acknowledged_by")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--ack", "refs", metavar="REF", multiple=True, help="Say that you have seen to what `--json` gives this ref."
)
@click.pass_context
def attention(ctx: click.Context, as_json: bool, refs: tuple[str, ...]) -> None:
    """List what needs a person and is open: of a source, of a workflow, or of one delivery.

    What is acknowledged stays open until its cause is gone.

    What each kind means and what to do about it is in deploy/RUNBOOK.md and on the dashboard's page Attention.
    """
    run(_acknowledge(configured(ctx), refs) if refs else _attention(configured(ctx), as_json=as_json))


async def _acknowledge(config: Config, refs: tuple[str, ...]) -> int:
    unknown = []
    async with ledger(config) as database:
        for ref in refs:
            async with database.write() as connection:
                at = await now(connection)
                row = await acknowledge_row(config, connection, ref, COMMAND_LINE, at)
            if row is None:
                unknown.append(ref)
            else:
                click.echo(f"noted: {row['kind']} of {row['scope']} {row['source']} {row['subject']}")
    for ref in unknown:
        click.echo(f"nothing that is open has the ref {ref!r}; `hookledger attention --json` gives them", err=True)
    return SOME_FAILED if unknown else DONE


async def _attention(config: Config, *, as_json: bool) -> int:
    async with ledger(config, asking=True) as database, database.read() as connection:
        found = await attention_by_kind(connection, MOST)
    items = [item for _, group in sorted(found.items()) for item in group["items"]]
    redactor = Redactor(config.secret_values())
    if as_json:
        counts = {kind: {name: group[name] for name in ("open", "acknowledged")} for kind, group in found.items()}
        print_json({"counts": counts, "items": items}, redactor)
        return DONE
    if items:
        print_table(_COLUMNS, items, redactor)
    else:
        click.echo("nothing needs a person")
    for kind, group in sorted(found.items()):
        if group["open"] > len(group["items"]):
            click.echo(f"{kind}: {group['open']} in all; `hookledger list --attention {kind}` pages through workflows")
    return DONE
