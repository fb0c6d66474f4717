"""`hookledger token`: make, list and revoke API tokens."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click
import orjson

from receiver.commands.opening import COMMAND_LINE, DONE, SOME_FAILED, configured, ledger, print_json, run
from receiver.commands.tables import print_table
from receiver.config import Config
from receiver.ledger import audit, sessions, tokens
from receiver.ledger.database import now as database_now
from receiver.ledger.query_parts import stamp
from receiver.ledger.tables import SCOPES
from receiver.redaction import Redactor

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def token() -> None:
    """API tokens: read sees, write also tracks and refetches, admin also gets raw bodies."""


@token.command()
@click.argument("name")
@click.option("--scope", type=click.Choice(SCOPES), required=True, help="What the token may do.")
@_JSON
@click.pass_context
def create(ctx: click.Context, name: str, scope: str, as_json: bool) -> None:
    """Make a token and show it: this once, it is kept as a hash only."""
    run(_create(configured(ctx), name, scope, as_json=as_json))


async def _create(config: Config, name: str, scope: str, *, as_json: bool) -> int:
    async with ledger(config) as database, database.write() as connection:
        now = datetime.now(UTC)
        made = await tokens.create(connection, name, scope, now)
        await audit.note(connection, COMMAND_LINE, "create token", now, subject=name, details={"scope": scope})
    # The one output that is a secret on purpose, so no redactor.
    if as_json:
        told = {"name": name, "scope": scope, "token": made}
        sys.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    else:
        click.echo(made)
        click.echo(f"token {name} with scope {scope}: keep it now, it is not shown again", err=True)
    return DONE


@token.command("list")
@_JSON
@click.pass_context
def list_tokens(ctx: click.Context, as_json: bool) -> None:
    """List the tokens there are, by name; never the tokens themselves."""
    run(_list(configured(ctx), as_json=as_json))


async def _list(config: Config, *, as_json: bool) -> int:
    async with ledger(config, asking=True) as database, database.read() as connection:
        found = await tokens.listing(connection)
    items = [
        {
            "name": one.name,
            "scope": one.scope,
            "created_at": stamp(one.created_at),
            "last_used_at": stamp(one.last_used_at),
            "revoked_at": stamp(one.revoked_at),
        }
        for one in found
    ]
    redactor = Redactor(config.secret_values())
    if as_json:
        print_json({"items": items, "next_cursor": None}, redactor)
    elif items:
        print_table(["name", "scope", "created_at", "last_used_at", "revoked_at"], items, redactor)
    else:
        click.echo("no tokens yet; make one with: hookledger token create NAME --scope read")
    return DONE


@token.command()
@click.argument("name")
@click.pass_context
def revoke(ctx: click.Context, name: str) -> None:
    """Make a token worthless, at once and for good."""
    run(_revoke(configured(ctx), name))


async def _revoke(config: Config, name: str) -> int:
    async with ledger(config, asking=True) as database, database.write() as connection:
        now = datetime.now(UTC)
        done = await tokens.revoke(connection, name, now)
        if done:
            await audit.note(connection, COMMAND_LINE, "revoke token", now, subject=name)
    if not done:
        click.echo(f"hookledger: no valid token is named {name}", err=True)
        return SOME_FAILED
    click.echo(f"revoked {name}")
    return DONE


@token.command("login-link")
@click.argument("name")
@click.option("--base", help="Where the dashboard is (default: server.public_url, else server.host and port).")
@_JSON
@click.pass_context
def login_link(ctx: click.Context, name: str, base: str | None, as_json: bool) -> None:
    """Print a link that logs one browser in to the dashboard with a token, once, within 60 seconds."""
    run(_login_link(configured(ctx), name, base, as_json=as_json))


async def _login_link(config: Config, name: str, base: str | None, *, as_json: bool) -> int:
    async with ledger(config, asking=True) as database, database.write() as connection:
        code = await sessions.make_code(connection, name, await database_now(connection))
    link = f"{(base or _dashboard(config)).rstrip('/')}/login?code={code}"
    if as_json:
        told = {"name": name, "link": link, "lives": sessions.CODE_LIVES.total_seconds()}
        sys.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    else:
        click.echo(link)
        click.echo("it works once, within 60 seconds", err=True)
    return DONE


def _dashboard(config: Config) -> str:
    if config.server.public_url:
        return config.server.public_url
    host = config.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.server.port}"
