"""`hookledger deliveries`: the evidence itself, listed across workflows, and one body byte for byte."""

from __future__ import annotations

import base64
import sys
from datetime import UTC, datetime
from typing import Any

import click

from receiver.commands.ask import instant_of
from receiver.commands.opening import DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.commands.tables import plain, print_table
from receiver.config import Config
from receiver.ledger.cursors import BadCursor
from receiver.ledger.deliveries import EvidenceFilter, body_of, list_evidence, one
from receiver.ledger.listing import MOST, USUAL, BadFilter
from receiver.ledger.records import EvidenceKind, Outcome
from receiver.redaction import Redactor

_COLUMNS = ("recorded_at", "source", "workflow", "seq", "kind", "outcome", "http_status", "size", "problem", "id")


@click.command()
@click.option("--source", help="Of this source only.")
@click.option("--workflow", metavar="ID", help="About this workflow.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([*map(str, EvidenceKind), "any"]),
    help="Of this kind; may be given several times (default: delivery).",
)
@click.option(
    "--outcome", "outcomes", multiple=True, type=click.Choice([str(one) for one in Outcome]), help="What became of it."
)
@click.option("--quarantined", is_flag=True, help="Believed but not understood: --outcome quarantined.")
@click.option("--since", help='Recorded since: an instant, or how long ago, such as "24h".')
@click.option("--until", help="Recorded before: an instant, or how long ago.")
@click.option("--limit", type=int, default=USUAL, show_default=True, help=f"At most {MOST}.")
@click.option("--cursor", help="The next page: `next_cursor` of the one before.")
@click.option("--body", "body", metavar="EVIDENCE", help="Write this evidence's body instead, secrets replaced.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def deliveries(ctx: click.Context, /, body: str | None, as_json: bool, **given: Any) -> None:
    """List what was received, fetched and decided, newest first; or write one body.

    A body holds whatever its sender put there: into a terminal it is written without control characters, into a pipe
    or a file byte for byte, known secrets excepted.
    """
    config = configured(ctx)
    redactor = Redactor(config.secret_values())
    if body is not None:
        run(_body(config, body, redactor, as_json=as_json))
    now = datetime.now(UTC)
    outcomes = {*given["outcomes"], *([Outcome.QUARANTINED] if given["quarantined"] else [])}
    kinds = given["kinds"] or (EvidenceKind.DELIVERY,)
    try:
        wanted = EvidenceFilter(
            source=given["source"],
            kinds=() if "any" in kinds else tuple(kinds),
            outcomes=tuple(sorted(outcomes)),
            workflow=given["workflow"],
            since=instant_of(given["since"], now, "--since"),
            until=instant_of(given["until"], now, "--until"),
            limit=given["limit"],
            cursor=given["cursor"],
        )
    except BadFilter as error:
        fail(str(error))
    run(_list(config, wanted, redactor, as_json=as_json))


async def _list(config: Config, wanted: EvidenceFilter, redactor: Redactor, *, as_json: bool) -> int:
    try:
        async with ledger(config, asking=True) as database, database.read() as connection:
            found = await list_evidence(connection, wanted)
    except BadCursor as error:
        fail(str(error))
    if as_json:
        print_json(found, redactor)
        return DONE
    if found["items"]:
        print_table(_COLUMNS, found["items"], redactor)
    else:
        click.echo("no evidence matches")
    if found["next_cursor"]:
        click.echo(f"more: --cursor {found['next_cursor']}")
    return DONE


async def _body(config: Config, evidence_id: str, redactor: Redactor, *, as_json: bool) -> int:
    async with ledger(config, asking=True) as database, database.read() as connection:
        found = await one(connection, evidence_id)
        content = await body_of(connection, evidence_id)
    if found is None:
        fail(f"no evidence is named {evidence_id[:64]!r}", SOME_FAILED)
    if found["body_sha256"] is None:
        fail("a decision has no body", SOME_FAILED)
    if content is None:
        fail("its body was pruned; its hash is kept", SOME_FAILED)
    content = redactor.bytes(content)
    if as_json:
        print_json({**found, **_told(content)}, redactor)
    elif sys.stdout.isatty():
        click.echo("\n".join(plain(line) for line in content.decode("utf-8", "replace").splitlines()))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    return DONE


def _told(content: bytes) -> dict[str, str | None]:
    """Return a body for JSON: as text where it is UTF-8, else in base64."""
    try:
        return {"body": content.decode(), "body_base64": None}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(content).decode()}
