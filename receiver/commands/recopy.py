"""`hookledger recopy`: outputs whose copying was given up are tried again, once somebody has seen to the cause."""

from __future__ import annotations

import click

from receiver.commands.opening import COMMAND_LINE, DONE, configured, fail, ledger, print_json, run
from receiver.config import Config
from receiver.ledger import audit, copies
from receiver.ledger.database import now as database_now
from receiver.providers.ids import is_id
from receiver.redaction import Redactor


@click.command()
@click.argument("source")
@click.argument("workflow_id", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def recopy(ctx: click.Context, source: str, workflow_id: str | None, as_json: bool) -> None:
    """Try again to copy outputs that were given up: all of SOURCE, or those of one workflow.

    The reconciler does it, as it copies everything; this only queues them anew.
    """
    if workflow_id is not None and not is_id(workflow_id):
        fail("ID must be 1 to 256 printable characters without '/', and neither '.' nor '..'")
    config = configured(ctx)
    run(_recopy(config, Redactor(config.secret_values()), source, workflow_id, as_json=as_json))


async def _recopy(config: Config, redactor: Redactor, source: str, workflow_id: str | None, *, as_json: bool) -> int:
    if not config.source(source).collect:
        fail(f"nothing is copied of {source!r}: set collect = true for it")
    async with ledger(config, asking=True) as database, database.write() as connection:
        at = await database_now(connection)
        queued = await copies.again(connection, source, workflow_id, at)
        if queued:
            details = {"outcome": f"{len(queued)} queued"}
            await audit.note(
                connection, COMMAND_LINE, "recopy", at, source=source, subject=workflow_id, details=details
            )
    if as_json:
        print_json({"source": source, "id": workflow_id, "queued": queued}, redactor)
    else:
        click.echo(redactor.text(f"{len(queued)} to be copied again"))
    return DONE
