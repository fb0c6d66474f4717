"""`hookledger advise` and `hookledger incident`: what an error means, and the report to escalate with."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from receiver.commands.opening import DONE, configured, fail, ledger, print_json, run, unknown
from receiver.commands.tables import print_fields, print_table
from receiver.config import Config
from receiver.incidents import TEMPLATE, BadSymptom, incident_of
from receiver.ledger.query_parts import JsonObject
from receiver.redaction import Redactor
from receiver.submitting import BadAdvice, advise_error

_LARGEST = 10 * 2**20  # bytes of an error's body
_BESIDE = (
    "source", "provider", "status", "upstream_status", "run", "submitted_at", "finished_at", "reason",
    "blocked_reason", "error", "error_told_by", "background", "composition", "input_reference", "media", "usage",
    "cost", "ref", "context", "request",
)  # fmt: skip


@click.command()
@click.argument("provider")
@click.option("--http", type=click.IntRange(100, 599), help="The status of upstream's answer.")
@click.option("--file", "path", metavar="FILE", help="The body of upstream's answer; `-` for standard input.")
@click.option("--retry-after", help="The answer's Retry-After header: seconds, or an HTTP date.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def advise(
    ctx: click.Context, provider: str, http: int | None, path: str | None, retry_after: str | None, as_json: bool
) -> None:
    """Say what an error that came at submit time means and what to do."""
    redactor = Redactor(configured(ctx).secret_values())
    if http is None and path is None:
        fail("there is nothing to advise on: give --http and --file")
    body = b"" if path is None else _content(path)
    try:
        told = advise_error(provider, http, body, redactor, retry_after=retry_after, now=datetime.now(UTC))
    except BadAdvice as error:
        fail(redactor.text(str(error)))
    if as_json:
        print_json(told, redactor)
    else:
        print_fields({**told, "fields": told["fields"] or None, "known": None if told["known"] else "no"}, redactor)
    sys.exit(DONE)


def _content(path: str) -> bytes:
    try:
        if path == "-":
            content = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(_LARGEST + 1)
    except OSError as error:
        fail(f"--file {path}: {error.strerror or 'cannot be read'}")
    if len(content) > _LARGEST:
        fail(f"--file {path} is larger than {_LARGEST} bytes")
    return content


@click.command()
@click.argument("source")
@click.argument("workflow_id", metavar="ID")
@click.option("--symptom", help='What is wrong in your words, such as "flicker": adds the known cause and action.')
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def incident(ctx: click.Context, source: str, workflow_id: str, symptom: str | None, as_json: bool) -> None:
    """Print the report to escalate a workflow with: upstream's template, and all that is known beside it."""
    run(_incident(configured(ctx), source, workflow_id, symptom, as_json=as_json))


async def _incident(config: Config, source: str, workflow_id: str, symptom: str | None, *, as_json: bool) -> int:
    redactor = Redactor(config.secret_values())
    try:
        async with ledger(config, asking=True) as database, database.read() as connection:
            report = await incident_of(connection, config, redactor, source, workflow_id, datetime.now(UTC), symptom)
    except BadSymptom as error:
        fail(f"--symptom: {error}")
    if report is None:
        unknown(config, source, workflow_id)
    if as_json:
        print_json(report, redactor)
    else:
        _tell(report, redactor)
    return DONE


def _tell(report: JsonObject, redactor: Redactor) -> None:
    print_json({name: report[name] for name in TEMPLATE}, redactor)
    click.echo()
    advice = report["advice"] or {}
    print_fields(
        {
            **{name: report[name] for name in _BESIDE},
            "advice": f"{advice['disposition']}: {advice['text']}" if advice else None,
            "retry_after": advice.get("retry_after"),
        },
        redactor,
    )
    check = report["check"] or {}
    for title, columns, rows in (
        ("known symptoms", ("symptom", "cause", "action"), report["known_symptoms"]),
        ("attention", ("kind", "since", "note", "acknowledged_at"), report["attention"]),
        ("steps", ("name", "status", "reason", "blocked_reason", "error", "finished_at"), report["steps"]),
        ("jobs", ("id", "status", "reason", "blocked_reason", "error", "finished_at"), report["jobs"]),
        ("timeline", ("seq", "recorded_at", "level", "key", "from", "to", "kind", "evidence"), report["timeline"]),
        ("attempts", ("sent_at", "http_status", "outcome", "error", "request_id", "evidence"), report["attempts"]),
        ("tries since", ("attempts", "tried_at", "last_error"), [check] if check.get("attempts") else []),
        ("evidence", ("seq", "recorded_at", "kind", "outcome", "http_status", "body_sha256", "id"), report["evidence"]),
    ):
        if rows:
            print_table(columns, rows, redactor, title)
