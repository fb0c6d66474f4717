"""What `--watch` shows on a terminal: as much as fits, the newest first, one line each, times as people say them.

Pure. What is taller than the screen cannot be drawn in place: a terminal forgets what has scrolled away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from receiver.commands.tables import counted, plain
from receiver.ledger.query_parts import JsonObject
from receiver.redaction import Redactor
from receiver.web.pages.times import after, ago, between, instant_of

STYLES = {
    "succeeded": "green", "failed": "red", "expired": "yellow", "canceled": "dim", "processing": "blue",
    "scheduled": "magenta", "preparing": "cyan", "unassigned": "dim",
}  # fmt: skip
_AROUND = 4  # lines of a list that are no workflow: the title, the table's head and its line, the cursor's
_FEWEST = 3
_GAP = 2  # spaces between columns
_LEGIBLE = 40  # characters of an id that are worth leaving other columns out for


@dataclass(frozen=True, slots=True)
class Size:
    """What there is of a terminal. Its last columns stay empty: the `^C` that it echoes would go on in the next line,
    and the picture would be drawn once more below its first line."""

    columns: int
    lines: int

    @property
    def width(self) -> int:
        """How long a line may be."""
        return max(self.columns - len("^C"), 1)


def _table(rows: Sequence[Mapping[str, Text]], elastic: str, optional: Sequence[str], width: int) -> Table:
    """Return rows as a table no wider than `width`. What does not fit is left out, `optional` columns one by one; then
    the `elastic` one is cut. The others stand whole: a status of which one letter is left says nothing."""
    needed = {name: max(len(name), *(row[name].cell_len for row in rows)) for name in rows[0]} if rows else {}
    shown = dict(needed)
    least = min(needed.get(elastic, 0), _LEGIBLE)
    for name in optional:
        if sum(shown.values()) - shown[elastic] + least + _GAP * (len(shown) - 1) <= width:
            break
        del shown[name]
    if shown:
        shown[elastic] = min(
            shown[elastic], max(width - sum(shown.values()) + shown[elastic] - _GAP * (len(shown) - 1), 1)
        )
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0), expand=False)
    for name, wide in shown.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=wide)
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def _when(stamp: str | None, now: datetime) -> str:
    return "-" if stamp is None else ago(instant_of(stamp), now)


def _status(workflow: JsonObject) -> Text:
    mark = "?" if workflow["terminal"] and workflow["confirmed_at"] is None else ""
    return Text(f"{workflow['status']}{mark}", style=STYLES.get(workflow["status"], ""))


def listed(found: JsonObject, redactor: Redactor, now: datetime, size: Size) -> RenderableType:
    """Return a page of workflows, newest first, cut to a screen's size; says when there are more."""
    items: list[JsonObject] = redactor.json(found["items"])
    shown = items[: max(size.lines - _AROUND, _FEWEST)]
    more = len(shown) < len(items) or found["next_cursor"] is not None
    title = f"{now:%H:%M:%S} UTC, {counted(len(shown), 'workflow')}" + (", the newest of more" if more else "")
    rows = [_listed(one, now) for one in shown]
    table = _table(rows, "workflow", ("next look", "took", "source", "attention", "seen"), size.width)
    return _within(size, Text(title, style="dim"), table if rows else Text("no workflows match"))


def _listed(one: JsonObject, now: datetime) -> Mapping[str, Text]:
    ended = one["completed_at"] or one["finished_at"]
    began = one["submitted_at"] or one["first_seen_at"]
    return {
        "status": _status(one),
        "workflow": Text(plain(one["id"])),
        "source": Text(plain(one["source"])),
        "seen": Text(_when(one["first_seen_at"], now)),
        "took": Text(between(began, ended or now.isoformat())),
        "next look": Text(_when(one["next_check_at"], now)),
        "attention": Text(plain(", ".join(open_["kind"] for open_ in one["attention"])), style="yellow"),
    }


def _within(size: Size, *parts: RenderableType) -> RenderableType:
    for part in parts:
        if isinstance(part, Text):
            part.no_wrap, part.overflow = True, "ellipsis"
    return Constrain(Group(*parts), size.width)


def followed(
    workflow: JsonObject, transitions: Sequence[JsonObject], redactor: Redactor, now: datetime, size: Size
) -> RenderableType:
    """Return one workflow as it stands, and under it its transitions, the newest first, as many as fit."""
    told: JsonObject = redactor.json(workflow)
    about = list(_facts(told, now))
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(no_wrap=True, min_width=max(len(name) for name, _ in about))
    facts.add_column(no_wrap=True, overflow="ellipsis")
    for name, value in about:
        facts.add_row(Text(name, style="bold"), value)
    first = told["submitted_at"] or told["first_seen_at"]
    room = max(size.lines - facts.row_count - _AROUND, _FEWEST)
    rows = [_moved(one, first) for one in list(reversed(redactor.json(list(transitions))))[:room]]
    return _within(size, facts, Text(""), _table(rows, "of", ("from", "how", "when"), size.width))


def _moved(one: JsonObject, first: str) -> Mapping[str, Text]:
    return {
        "when": Text(after(one["upstream_at"] or one["recorded_at"], first)),
        "of": Text(one["level"] + (f" {plain(one['key'])}" if one["key"] else "")),
        "from": Text(one["from"] or "-"),
        "to": Text(one["to"], style=STYLES.get(one["to"], "")),
        "how": Text("-" if one["kind"] == "applied" else one["kind"]),
    }


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
