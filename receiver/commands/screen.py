"""What `--watch` shows on a terminal: as much as fits, the newest first, one line each, times as people say them.

Pure. What is taller than the screen cannot be drawn in place: a terminal forgets what has scrolled away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from receiver.commands.tables import plain
from receiver.ledger.query_parts import JsonObject
from receiver.redaction import Redactor
from receiver.web.pages.times import after, ago, between, instant_of

STYLES = {
    "succeeded": "green", "failed": "red", "expired": "yellow", "canceled": "dim", "processing": "blue",
    "scheduled": "magenta", "preparing": "cyan", "unassigned": "dim",
}  # fmt: skip
_AROUND = 4  # lines of a list that are no workflow: the title, the table's head and its line, the cursor's
_FEWEST = 3


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), expand=False)
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _when(stamp: str | None, now: datetime) -> str:
    return "-" if stamp is None else ago(instant_of(stamp), now)


def _status(workflow: JsonObject) -> Text:
    mark = "?" if workflow["terminal"] and workflow["confirmed_at"] is None else ""
    return Text(f"{workflow['status']}{mark}", style=STYLES.get(workflow["status"], ""))


def listed(found: JsonObject, redactor: Redactor, now: datetime, height: int) -> RenderableType:
    """Return a page of workflows, newest first, cut to a screen of `height` lines; says when there are more."""
    items: list[JsonObject] = redactor.json(found["items"])
    shown = items[: max(height - _AROUND, _FEWEST)]
    more = len(shown) < len(items) or found["next_cursor"] is not None
    title = f"{now:%H:%M:%S} UTC, {len(shown)} workflows" + (", the newest of more" if more else "")
    table = _table("status", "workflow", "source", "seen", "took", "next look", "attention")
    for one in shown:
        ended = one["completed_at"] or one["finished_at"]
        began = one["submitted_at"] or one["first_seen_at"]
        table.add_row(
            _status(one), plain(one["id"]), plain(one["source"]), _when(one["first_seen_at"], now),
            between(began, ended or now.isoformat()), _when(one["next_check_at"], now),
            Text(plain(", ".join(open_["kind"] for open_ in one["attention"])), style="yellow"),
        )  # fmt: skip
    return Group(Text(title, style="dim"), table if shown else Text("no workflows match"))


def followed(
    workflow: JsonObject, transitions: Sequence[JsonObject], redactor: Redactor, now: datetime, height: int
) -> RenderableType:
    """Return one workflow as it stands, and under it its transitions, the newest first, as many as fit."""
    told: JsonObject = redactor.json(workflow)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(no_wrap=True)
    facts.add_column(no_wrap=True, overflow="ellipsis")
    for name, value in _facts(told, now):
        facts.add_row(Text(name, style="bold"), value)
    first = told["submitted_at"] or told["first_seen_at"]
    table = _table("when", "of", "from", "to", "how")
    room = max(height - facts.row_count - _AROUND, _FEWEST)
    for one in list(reversed(redactor.json(list(transitions))))[:room]:
        of = one["level"] + (f" {plain(one['key'])}" if one["key"] else "")
        to = Text(one["to"], style=STYLES.get(one["to"], ""))
        how = "-" if one["kind"] == "applied" else one["kind"]
        table.add_row(after(one["upstream_at"] or one["recorded_at"], first), of, one["from"] or "-", to, how)
    return Group(facts, Text(""), table)


def _facts(told: JsonObject, now: datetime) -> Iterator[tuple[str, Text]]:
    yield "workflow", Text(f"{plain(told['source'])}/{plain(told['id'])}")
    yield "status", _status(told)
    if told["upstream_status"] and told["upstream_status"] != told["status"]:
        yield "upstream says", Text(plain(told["upstream_status"]))
    if told["progress"] is not None and not told["terminal"]:
        yield "progress", Text(f"{told['progress']:.0%}")
    yield "seen", Text(_when(told["first_seen_at"], now))
    if told["terminal"]:
        yield "ended", Text(_when(told["completed_at"] or told["finished_at"], now))
    if told["next_check_at"]:
        because = (told["check"] or {}).get("because")
        yield "next look", Text(_when(told["next_check_at"], now) + (f": {plain(because)}" if because else ""))
    if told["advice"]:
        yield "advice", Text(f"{told['advice']['disposition']}: {plain(told['advice']['text'])}")
    for one in told["attention"]:
        yield "attention", Text(f"{one['kind']} {_when(one['since'], now)} {plain(one['note'])}", style="yellow")
