"""`hookledger show` and `hookledger list`: ask the ledger without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from receiver.advising import with_advice
from receiver.commands.opening import DONE, SOME_FAILED, configured, fail, ledger, print_json, run
from receiver.commands.tables import print_fields, print_table
from receiver.config import Config
from receiver.config.units import duration
from receiver.ledger import listing, queries, trail
from receiver.ledger.cursors import BadCursor
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


@click.command()
@click.argument("source")
@click.argument("workflow_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the workflow, its transitions, its evidence.")
@click.pass_context
def show(ctx: click.Context, source: str, workflow_id: str, as_json: bool) -> None:
    """Show one workflow with its timeline."""
    run(_show(configured(ctx), source, workflow_id, as_json=as_json))


async def _show(config: Config, source: str, workflow_id: str, *, as_json: bool) -> int:
    async with ledger(config) as database, database.read() as connection:
        row = await queries.workflow_row(connection, source, workflow_id)
        if row is None:
            known = "" if source in config.sources else f"; configured sources: {', '.join(sorted(config.sources))}"
            fail(f"no workflow {workflow_id!r} is known of source {source!r}{known}", SOME_FAILED)
        workflow = with_advice(await queries.as_json(connection, [row], datetime.now(UTC)), config)[0]
        transitions = await trail.list_transitions(connection, row["pk"], limit=_TIMELINE)
        evidence = await trail.list_evidence(connection, row["pk"], limit=_TIMELINE)
    redactor = Redactor(config.secret_values())
    if as_json:
        print_json({**workflow, "transitions": transitions["items"], "evidence": evidence["items"]}, redactor)
    else:
        _print_workflow(workflow, transitions["items"], evidence["items"], redactor)
    return DONE


def _print_workflow(
    workflow: JsonObject, transitions: list[JsonObject], evidence: list[JsonObject], redactor: Redactor
) -> None:
    fields = _only(workflow, _FIELDS)
    if workflow["advice"] is not None:
        fields["advice"] = f"{workflow['advice']['disposition']}: {workflow['advice']['text']}"
    print_fields({"workflow": f"{workflow['source']}/{workflow['id']}", **fields}, redactor)
    check = workflow["check"] or {}
    if check.get("because"):
        print_fields({"because": check["because"]}, redactor)
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
            print_table(columns, rows, redactor, title)


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
@click.pass_context
def list_workflows(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """List workflows, newest first."""
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
    run(_list(config, wanted, now, as_json=as_json))


async def _list(config: Config, wanted: WorkflowFilter, now: datetime, *, as_json: bool) -> int:
    try:
        async with ledger(config) as database, database.read() as connection:
            found = await listing.list_workflows(connection, wanted, now)
    except BadCursor as error:
        fail(str(error))
    found["items"] = with_advice(found["items"], config)
    redactor = Redactor(config.secret_values())
    if as_json:
        print_json(found, redactor)
        return DONE
    rows = [{**one, "attention": ", ".join(open_["kind"] for open_ in one["attention"])} for one in found["items"]]
    columns = ("source", "id", "status", "first_seen_at", "finished_at", "next_check_at", "attention", "ref")
    if rows:
        print_table(columns, rows, redactor)
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
