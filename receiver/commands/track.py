"""`hookledger url` and `hookledger track`: what to register upstream, and what was submitted there."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from receiver.advising import with_advice
from receiver.commands.ask import labels_of
from receiver.commands.opening import COMMAND_LINE, DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.config import Config, ConfigError
from receiver.ledger import queries
from receiver.ledger.apply import apply
from receiver.ledger.database import now as database_now
from receiver.ledger.entries import Entry
from receiver.ledger.records import Outcome, Trust
from receiver.providers.base import Unreadable
from receiver.providers.ids import MAX_LENGTH
from receiver.providers.jsonbody import parse_object
from receiver.redaction import Redactor
from receiver.tracking import BadTrack, track_entry

_LARGEST = 10 * 2**20  # bytes of a file that is handed in


@click.command()
@click.argument("source")
@click.option("--ref", help="Your own name for the work: it finds the workflow again (`list -q`, `track --ref`).")
@click.pass_context
def url(ctx: click.Context, source: str, ref: str | None) -> None:
    """Print the address to register upstream for deliveries. It holds the hook token: treat it as a secret."""
    config = configured(ctx)
    try:
        account = config.account(source)
    except ConfigError as error:
        fail(str(error))
    if config.server.public_url is None:
        fail(
            "server.public_url is not set: it is what upstreams reach this receiver by, such as "
            '"https://hooks.example.com", or "http://127.0.0.1:8080" for a sandbox on this machine'
        )
    if account.trust is Trust.NONE:
        fail(f'source {source!r} has trust = "none": it is only polled, and its deliveries are refused')
    if ref is not None and not (0 < len(ref) <= MAX_LENGTH and ref.isprintable()):
        fail(f"--ref must be 1 to {MAX_LENGTH} printable characters")
    query = {"token": account.hook_tokens[0]} if account.hook_tokens else {}
    if ref is not None:
        query["ref"] = ref
    # The one output besides a new API token that is a secret on purpose.
    click.echo(f"{config.server.public_url}/hooks/{source}" + (f"?{urlencode(query)}" if query else ""))


@click.command()
@click.argument("source")
@click.argument("workflow_id", metavar="[ID]", required=False)
@click.option("--response", metavar="FILE", help="Upstream's answer to the submission, JSON; `-` for standard input.")
@click.option("--request", metavar="FILE", help="What was submitted, JSON; kept without secrets.")
@click.option("--media", multiple=True, metavar="KEY=VALUE", help="Of the input: duration, resolution, codec, …")
@click.option("--context", "labels", multiple=True, metavar="KEY=VALUE", help="A label to find the workflow by.")
@click.option("--ref", help="Your own name for the work.")
@click.option("--locator", multiple=True, metavar="KEY=VALUE", help="What the provider needs beside the id to ask.")
@click.option("--submitted-at", help='When it was submitted, such as "2026-01-21T22:21:26Z".')
@click.option("--json", "as_json", is_flag=True, help="Print the workflow as JSON.")
@click.pass_context
def track(ctx: click.Context, /, source: str, workflow_id: str | None, as_json: bool, **given: Any) -> None:
    """Register a submitted workflow, or add to what is known of one. ID may be left out when --response names it."""
    config = configured(ctx)
    try:
        config.source(source)
    except ConfigError as error:
        fail(str(error))
    told = {
        "source": source,
        "id": workflow_id,
        "response": _document(given["response"], "--response"),
        "request": _document(given["request"], "--request"),
        "media": labels_of(given["media"], "--media") or None,
        "context": labels_of(given["labels"], "--context") or None,
        "ref": given["ref"],
        "locator": labels_of(given["locator"], "--locator") or None,
        "submitted_at": given["submitted_at"],
    }
    redactor = Redactor(config.secret_values())
    try:
        entry = track_entry(told, config, redactor, datetime.now(UTC))
    except BadTrack as error:
        fail(str(error))
    entry.tracked_by = COMMAND_LINE
    run(_track(config, entry, redactor, as_json=as_json))


async def _track(config: Config, entry: Entry, redactor: Redactor, *, as_json: bool) -> int:
    assert entry.workflow_id is not None
    async with ledger(config) as database:
        async with database.write() as connection:
            result = (await apply(connection, [entry], await database_now(connection)))[0]
        async with database.read() as connection:
            known = await queries.workflow(connection, entry.source, entry.workflow_id, datetime.now(UTC))
    if known is None:
        fail(f"{entry.workflow_id} was forgotten again meanwhile", SOME_FAILED)
    if as_json:
        print_json(with_advice([known], config)[0], redactor)
        return DONE
    what = "tracked" if result.created else "known already" if result.outcome is Outcome.DUPLICATE else "added to"
    click.echo(redactor.text(f"{what}: {entry.source}/{entry.workflow_id} is {known['status']}"))
    return DONE


def _document(path: str | None, option: str) -> dict[str, Any] | None:
    """Read a JSON object from a file; leaves with a clear line when there is none."""
    if path is None:
        return None
    try:
        content = sys.stdin.buffer.read(_LARGEST + 1) if path == "-" else _read(path)
    except OSError as error:
        fail(f"{option} {path}: {error.strerror or 'cannot be read'}")
    if len(content) > _LARGEST:
        fail(f"{option} {path} is larger than {_LARGEST} bytes")
    try:
        return parse_object(content)
    except Unreadable as error:
        fail(f"{option} {path}: {error}")


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_LARGEST + 1)
