"""`hookledger db`: bring the schema up to date, and compare it with the code."""

from __future__ import annotations

import click

from receiver.commands.opening import DONE, SOME_FAILED, configured, ledger, run
from receiver.config import Config
from receiver.ledger import migrate
from receiver.ledger.database import Database


@click.group()
def db() -> None:
    """Migrate the ledger's database, or check its schema."""


@db.command()
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Run the missing migration steps, all or none. Safe to run twice, and by two machines at once."""
    run(_upgrade(configured(ctx)))


async def _upgrade(config: Config) -> int:
    database = await Database.open(config.database.url)
    try:
        before = await migrate.current(database)
        await migrate.upgrade(database)
    finally:
        await database.close()
    after = migrate.head()
    click.echo(f"already at {after}" if before == after else f"upgraded from {before or 'nothing'} to {after}")
    return DONE


@db.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Compare the live schema with the code's, constraints and triggers included."""
    run(_check(configured(ctx)))


async def _check(config: Config) -> int:
    async with ledger(config, upgrade_sqlite=False) as database:
        differences = await migrate.check(database)
    for difference in differences:
        click.echo(difference)
    if not differences:
        click.echo("the schema equals the code's")
    return SOME_FAILED if differences else DONE
