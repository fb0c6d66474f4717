"""`hookledger show` and `hookledger list`: ask the ledger without a server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from receiver.advising import with_advice
from receiver.commands import screen
from receiver.commands.opening import DONE, configured, fail, lasting_ledger, ledger, print_json, run, unknown
from receiver.commands.tables import console, fields_of, print_table, table_of
from receiver.commands.watching import watch
from receiver.config import Config
from receiver.config.units import duration
from receiver.ledger import listing, queries, trail
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import Database
from receiver.ledger.listing import BadFilter, WorkflowFilter
from receiver.ledger.query_parts import JsonObject
from receiver.providers.instants import instant
from receiver.redaction import Redactor

_TIMELINE = 1000  # transitions and evidence that `show` prints of each

_FIELDS = (
    "status", "upstream_status", "reason", "blocked_reason", "error", "advice", "run", "ref", "context", "model",
    "output_format", "first_seen_at", "first_seen_via", "submitted_at", "started_at", "completed_at", "finished_at",
    "finished_via", "confirmed_at", "progress", "next_check_at",
)  # fmt: skip


_VANISHED = "never: upstream answers that it does not know it, so this ending is only what was said or concluded"

_COLUMNS = ("source", "id", "status", "first_seen_at", "finished_at", "next_check_at", "attention", "ref")


@click.command()
@click.argument("source")
@click.argument("workflow_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the workflow, its transitions, its evidence.")
@click.option("--watch", "watched", is_flag=True, help="Follow it until its ending is confirmed.")
@click.pass_context
def show(ctx: click.Context, source: str, workflow_id: str, as_json: bool, watched: bool) -> None:
    """Show one workflow with its timeline."""
    if as_json and watched:
        fail("--watch draws tables; for a program there is GET /v1/stream")
    config = configured(ctx)
    run(_follow(config, source, workflow_id) if watched else _show(config, source, workflow_id, as_json=as_json))


async def _show(config: Config, source: str, workflow_id: str, *, as_json: bool) -> int:
    async with ledger(config, asking=True) as database:
        workflow, transitions, evidence = await _one(database, config, source, workflow_id)
    redactor = Redactor(config.secret_values())
    if as_json:
        print_json({**workflow, "transitions": transitions, "evidence": evidence}, redactor)
    else:
        for part in _drawn(workflow, transitions, evidence, redactor):
            console().print(part)
    return DONE


async def _follow(config: Config, source: str, workflow_id: str) -> int:
    redactor = Redactor(config.secret_values())
    async with lasting_ledger(config) as database:

        async def draw() -> tuple[RenderableType, bool]:
            workflow, transitions, evidence = await _one(await database(), config, source, workflow_id)
            out, now = console(), datetime.now(UTC)
            shown: RenderableType = (
                screen.followed(workflow, transitions, redactor, now, screen.Size(*out.size))
                if out.is_terminal
                else Group(*_drawn(workflow, transitions, evidence, redactor))
            )
            return shown, workflow["terminal"] and workflow["confirmed_at"] is not None

        await watch(draw)
    return DONE


async def _one(
    database: Database, config: Config, source: str, workflow_id: str
) -> tuple[JsonObject, list[JsonObject], list[JsonObject]]:
    """Return a workflow, its transitions and its evidence; leaves with a clear line when nobody knows it."""
    async with database.read() as connection:
        row = await queries.workflow_row(connection, source, workflow_id)
        if row is None:
            unknown(config, source, workflow_id)
        workflow = with_advice([await queries.one(connection, row, datetime.now(UTC))], config)[0]
        transitions = await trail.list_transitions(connection, row["pk"], limit=_TIMELINE)
        evidence = await trail.list_evidence(connection, row["pk"], limit=_TIMELINE)
    return workflow, transitions["items"], evidence["items"]


def _drawn(
    workflow: JsonObject, transitions: list[JsonObject], evidence: list[JsonObject], redactor: Redactor
) -> Iterator[RenderableType]:
    fields = _only(workflow, _FIELDS)
    if workflow["terminal"] and workflow["confirmed_at"] is None:
        vanished = workflow["vanished_at"] is not None
        fields["confirmed_at"] = _VANISHED if vanished else "not yet: provisional until a look confirms it"
    if workflow["advice"] is not None:
        fields["advice"] = f"{workflow['advice']['disposition']}: {workflow['advice']['text']}"
    yield fields_of({"workflow": f"{workflow['source']}/{workflow['id']}", **fields}, redactor)
    check = workflow["check"] or {}
    if check.get("because"):
        yield fields_of({"because": check["because"]}, redactor)
    for title, columns, rows in (
        ("attention", ("kind", "since", "note", "acknowledged_at"), workflow["attention"]),
        ("next look", ("why", "at"), [{"why": why, "at": at} for why, at in (check.get("reasons") or {}).items()]),
        ("steps", ("name", "type", "status", "reason", "blocked_reason", "finished_at"), workflow["steps"]),
        ("jobs", ("id", "step", "status", "reason", "blocked_reason", "finished_at"), workflow["jobs"]),
        ("blobs", ("id", "type", "step", "available", "url_expires_at", "gone_at", "href"), workflow["blobs"]),
        ("timeline", ("seq", "recorded_at", "level", "key", "from", "to", "kind", "evidence"), transitions),
        ("evidence", ("seq", "recorded_at", "kind", "outcome", "http_status", "size", "problem", "id"), evidence),
    ):
        if rows:
            yield table_of(columns, rows, redactor, title)


def _only(value: JsonObject, names: tuple[str, ...]) -> JsonObject:
    return {name: value[name] for name in names}


@click.command("list")
@click.option("--source", help="Of this source only.")
@click.option("--status", "statuses", multiple=True, help="In this status; may be given several times.")
@click.option("--open/--ended", "is_open", default=None, help="Not ended yet, or ended.")
@click.option("--stale", is_flag=True, default=None, help="Whose look is overdue by more than a minute.")
@click.option("--attention", help="With attention of this kind open, or `any`.")
@click.option("--step-type", help="With a step of this type.")
@click.option("--context", "labels", multiple=True, metavar="KEY=VALUE", help="With this label.")
@click.option("--since", help='First seen since: an instant, or how long ago, such as "24h".')
@click.option("--until", help="First seen before: an instant, or how long ago.")
@click.option("-q", help="Whose id, ref, or a job's or blob's id is this or begins with it.")
@click.option("--limit", type=int, default=listing.USUAL, show_default=True, help=f"At most {listing.MOST}.")
@click.option("--cursor", help="The next page: `next_cursor` of the one before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", "watched", is_flag=True, help="Keep the table true until Ctrl-C.")
@click.pass_context
def list_workflows(ctx: click.Context, /, as_json: bool, watched: bool, **given: Any) -> None:
    """List workflows, newest first."""
    if as_json and watched:
        fail("--watch draws tables; for a program there is GET /v1/stream")
    config = configured(ctx)
    now = datetime.now(UTC)
    try:
        wanted = WorkflowFilter(
            source=given["source"],
            statuses=given["statuses"],
            open=given["is_open"],
            stale=given["stale"],
            attention=given["attention"],
            step_type=given["step_type"],
            context=labels_of(given["labels"], "--context"),
            since=instant_of(given["since"], now, "--since"),
            until=instant_of(given["until"], now, "--until"),
            q=given["q"],
            limit=given["limit"],
            cursor=given["cursor"],
        )
    except BadFilter as error:
        fail(str(error))
    run(_keep_listing(config, wanted) if watched else _list(config, wanted, now, as_json=as_json))


async def _keep_listing(config: Config, wanted: WorkflowFilter) -> int:
    redactor = Redactor(config.secret_values())
    async with lasting_ledger(config) as database:

        async def draw() -> tuple[RenderableType, bool]:
            async with (await database()).read() as connection:
                found = await listing.list_workflows(connection, wanted, datetime.now(UTC))
            out = console()
            if out.is_terminal:
                return screen.listed(found, redactor, datetime.now(UTC), screen.Size(*out.size)), False
            rows = _rows(found["items"])
            return table_of(_COLUMNS, rows, redactor) if rows else Text("no workflows match"), False

        try:
            await watch(draw)
        except BadCursor as error:
            fail(str(error))
    return DONE


def _rows(items: list[JsonObject]) -> list[JsonObject]:
    return [{**one, "attention": ", ".join(open_["kind"] for open_ in one["attention"])} for one in items]


async def _list(config: Config, wanted: WorkflowFilter, now: datetime, *, as_json: bool) -> int:
    try:
        async with ledger(config, asking=True) as database, database.read() as connection:
            found = await listing.list_workflows(connection, wanted, now)
    except BadCursor as error:
        fail(str(error))
    found["items"] = with_advice(found["items"], config)
    redactor = Redactor(config.secret_values())
    if as_json:
        print_json(found, redactor)
        return DONE
    rows = _rows(found["items"])
    if rows:
        print_table(_COLUMNS, rows, redactor)
    else:
        click.echo(config.advice() or "no workflows match")
    if found["next_cursor"]:
        click.echo(f"more: --cursor {found['next_cursor']}")
    return DONE


def labels_of(given: tuple[str, ...], option: str) -> dict[str, str]:
    """Return KEY=VALUE options as a dictionary; leaves with a clear line when one is not like that."""
    labels = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            fail(f"{option} must be KEY=VALUE, not {one!r}")
        labels[key] = value
    return labels


def instant_of(text: str | None, now: datetime, option: str) -> datetime | None:
    """Return an option's instant, or how long ago, as an instant; leaves with a clear line when it is neither."""
    if text is None:
        return None
    at = instant(text)
    if at is not None:
        return at
    try:
        return now - duration(text)
    except ValueError:
        fail(f'{option} must be an instant such as "2026-01-21T22:21:26Z", or how long ago, such as "24h"')
