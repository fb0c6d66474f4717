"""What a loaded ledger holds: the rows of each workflow by its number, as COPY takes them, always the same ones.

A workflow has a step, a job, a transition, one piece of evidence without its body, its dedupe key and a check; most
that succeeded have a file, half have labels, one in a thousand needs a person, one in a hundred was looked at. One in
ten is still open. All were first seen within thirty days. Their ids are as long as those of the mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from receiver import __version__
from receiver.ledger.labels import digest, digest_of_type
from tests.bench.mix import TAG

OPEN_EVERY = 10
NULL = "\\N"
DAYS = 30
# What each workflow draws from, by its own hash: sources, endings and types of step that are common, seldom and rare.
SOURCES = ("civitai",) * 70 + ("beeble",) * 14 + ("evolink",) * 10 + ("removebgvideo",) * 5 + ("fal",)
RARE_SOURCE, RARE_TYPE, RARE_STATUS, RARE_EVERY = "archive", "lipSync", "expired", 50_000
STATES = ("succeeded",) * 90 + ("failed",) * 7 + ("canceled",) * 3
OPEN_STATES = ("processing",) * 8 + ("scheduled", "preparing")
TYPES = ("imageGen",) * 70 + ("videoGen",) * 20 + ("textToSpeech",) * 9 + ("videoUpscale",)
MODELS = (NULL, NULL, *(f"urn:air:flux1:checkpoint:civitai:{number}" for number in range(14)))
TEAMS = ("red",) * 9 + ("green",) * 4 + ("blue",) * 2 + ("violet",)
OUTCOMES = ("applied", "applied", "recorded")
CUSTOMERS = 5000
LATE_EVERY = 200  # of open ones, that are due
KINDS = ("overdue", "unreachable", "gone", "contradicted")

COLUMNS = {
    "workflows": (
        "pk", "source", "id", "run", "status", "status_seen_at", "confirmed_at", "first_seen_at", "started_at",
        "completed_at", "finished_at", "finished_via", "facts", "stamps", "first_seen_via", "submitted_at", "news_at",
        "ending_delivered_at", "model", "ref", "context", "evidence_seq", "transition_seq",
    ),
    "steps": (
        "workflow", "run", "key", "status", "status_seen_at", "confirmed_at", "first_seen_at", "facts", "stamps",
    ),
    "jobs": (
        "workflow", "run", "key", "step", "status", "status_seen_at", "confirmed_at", "first_seen_at", "facts",
        "stamps", "source",
    ),
    "blobs": (
        "workflow", "run", "id", "source", "type", "step", "job", "available", "url", "url_seen_at", "url_expires_at",
        "url_confirmed", "facts",
    ),
    "evidence": (
        "id", "source", "workflow", "workflow_id", "seq", "kind", "trust", "outcome", "recorded_at", "body_sha256",
        "code_version",
    ),
    "delivery_keys": ("source", "key", "evidence", "first_at", "last_at", "count"),
    "transitions": ("workflow", "seq", "run", "level", "key", "to_status", "kind", "evidence", "recorded_at"),
    "checks": (
        "source", "id", "workflow", "reasons", "lane", "due_at", "hints", "attempts", "looks", "misses", "fence",
    ),
    "labels": ("workflow", "digest", "first_seen_at"),
    "attention": (
        "id", "scope", "source", "subject", "workflow", "kind", "since", "acknowledged_at", "acknowledged_by",
        "closed_at",
    ),
}  # fmt: skip


def old_name(number: int) -> str:
    """Return the id of a loaded workflow, as long as those of the mix; numbers count from 0."""
    return f"8484131-{number:0{len(TAG) + 9}d}"


def blob_name(number: int) -> str:
    """Return the id of a loaded workflow's file, if it has one."""
    return f"LOADED{sha256(b'%d' % number).hexdigest()[:18].upper()}.jpeg"


class Lines:
    """Rows of workflows, as lines of tables: `add` adds those of one, `taken` gives what was added and begins anew."""

    def __init__(self, now: datetime) -> None:
        self._instant = _instants(now)
        self._millis = int(now.timestamp()) * 1000
        self._team = {team: digest("team", team).hex() for team in set(TEAMS)}
        self._type = {kind: digest_of_type(kind).hex() for kind in {*TYPES, RARE_TYPE}}
        self._lines: dict[str, list[str]] = {name: [] for name in COLUMNS}

    def taken(self) -> dict[str, list[str]]:
        """Return the lines of each table and forget them."""
        taken, self._lines = self._lines, {name: [] for name in COLUMNS}
        return taken

    def add(self, number: int) -> None:
        """Add the rows of one workflow."""
        out, pk, name = self._lines, number + 1, old_name(number)
        whole = sha256(b"%d" % number).hexdigest()
        draw = int(whole[:12], 16)
        ours, rare = number % OPEN_EVERY == 0, number % RARE_EVERY == 7  # what is rare is old
        still_open = ours or (draw // 977 % 50 == 0 and not rare)
        age = number * 977 % (DAYS * 86_400) if not rare else DAYS * 86_400 - number // RARE_EVERY % 86_400
        at, since = self._instant(age), self._instant(age + 1 + draw % 290)
        source = "civitai" if ours else RARE_SOURCE if rare else SOURCES[draw % 100]
        status = OPEN_STATES[draw // 100 % 10] if still_open else RARE_STATUS if rare else STATES[draw // 100 % 100]
        number_of = 2 if number % 100 == 99 else 1
        ended, via = (NULL, NULL) if still_open else (at, "delivery")
        kind = RARE_TYPE if rare else TYPES[draw // 10_000 % 100]
        customer = draw // 1_000_000 % (2 * CUSTOMERS)  # half of all workflows have none, and no labels
        team = TEAMS[draw // 100_000_000 % 16]
        context = f'{{"customer":"{customer}","team":"{team}"}}' if customer < CUSTOMERS else NULL
        ref = f"order-{whole[:12]}" if draw % 5 == 0 else NULL
        proof = f"{self._millis - age * 1000:012x}{whole[:20]}"
        job = f"{whole[:8]}-{whole[8:12]}-{whole[12:16]}-{whole[16:20]}-{whole[20:32]}"
        out["workflows"].append(
            f"{pk}\t{source}\t{name}\t1\t{status}\t{at}\t{ended}\t{since}\t{since}\t{ended}\t{ended}\t{via}\t{{}}\t{{}}"
            f"\tdelivery\t{since}\t{at}\t{ended}\t{MODELS[draw // 7 % 16]}\t{ref}\t{context}\t{number_of}\t1"
        )
        node = f"{status}\t{at}\t{ended}\t{since}\t"
        out["steps"].append(f'{pk}\t1\t$0\t{node}{{"type":"{kind}"}}\t{{}}')
        out["jobs"].append(f"{pk}\t1\t{job}\t$0\t{node}{{}}\t{{}}\t{source}")
        out["evidence"].append(
            f"{proof}\t{source}\t{pk}\t{name}\t1\tdelivery\ttoken\t{OUTCOMES[draw // 11 % 3]}\t{at}\t{whole}"
            f"\t{__version__}"
        )
        out["delivery_keys"].append(f"{source}\t{whole}\t{proof}\t{at}\t{at}\t1")
        out["transitions"].append(f"{pk}\t1\t1\tworkflow\t\t{status}\tapplied\t{proof}\t{at}")
        due = NULL
        if still_open:
            due = self._instant(3600 if draw // 31 % LATE_EVERY == 0 else -86_400)
        out["checks"].append(f"{source}\t{name}\t{pk}\t{{}}\tstanding\t{due}\t0\t0\t0\t0\t0")
        if status == "succeeded" and draw % 10 < 7:
            file = f"LOADED{whole[:18].upper()}.jpeg"
            out["blobs"].append(
                f"{pk}\t1\t{file}\t{source}\timage\t$0\t{job}\t1\thttps://blobs.example/{file}?sig={whole[:43]}\t{at}"
                f"\t{at}\t1\t{{}}"
            )
        out["labels"].append(f"{pk}\t\\\\x{self._type[kind]}\t{since}")
        if context != NULL:
            for label in (self._team[team], digest("customer", str(customer)).hex()):
                out["labels"].append(f"{pk}\t\\\\x{label}\t{since}")
        if number % 100 == 99:
            out["evidence"].append(
                f"{proof[:12]}{whole[10:30]}\t{source}\t{pk}\t{name}\t2\tfetch\t\\N\tapplied\t{at}\t\\N\t{__version__}"
            )
        if number % RARE_EVERY == RARE_EVERY - 1:
            out["evidence"].append(
                f"{proof[:12]}{whole[20:40]}\t{source}\t\\N\t\\N\t\\N\tdelivery\ttoken\tquarantined\t{at}\t\\N"
                f"\t{__version__}"
            )
        if draw // 13 % 250 == 0:
            self._attention(pk, source, name, whole, at, draw)

    def _attention(self, pk: int, source: str, name: str, whole: str, at: str, draw: int) -> None:
        """One in four is open, of which one in three has been seen to."""
        still, seen = draw // 3250 % 4 == 0, draw // 13_000 % 3 == 0
        who, closed = ("ops" if seen else NULL), (NULL if still else at)
        self._lines["attention"].append(
            f"{whole[:32]}\tworkflow\t{source}\t{name}\t{pk}\t{KINDS[draw // 39_000 % 4]}\t{at}"
            f"\t{at if seen else NULL}\t{who}\t{closed}"
        )


def _instants(now: datetime) -> Callable[[int], str]:
    """Return what writes the instant so many seconds before now: as fast as looking it up in two lists."""
    begin = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today = int((now - begin).total_seconds())
    days = [(begin - timedelta(days=back)).strftime("%Y-%m-%d") for back in range(-2, DAYS + 3)]
    clock = [
        f"T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{second * 7919 % 1_000_000:06d}+00:00"
        for second in range(86_400)
    ]

    def instant(age: int) -> str:
        day, second = divmod(today - age, 86_400)
        return days[2 - day] + clock[second]

    return instant


def lines(now: datetime, first: int, last: int, at_once: int) -> Iterator[dict[str, list[str]]]:
    """Yield the lines of the workflows numbered from `first` up to `last`, by table, so many workflows at a time."""
    made = Lines(now)
    for begin in range(first, last, at_once):
        for number in range(begin, min(begin + at_once, last)):
            made.add(number)
        yield made.taken()
