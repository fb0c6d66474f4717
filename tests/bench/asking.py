"""What readers ask of a large ledger: every list of `/v1` with each of its filters, single things, every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from urllib.parse import urlencode

from receiver.ledger import cursors
from receiver.ledger.query_parts import stamp
from tests.bench import loaded

LISTS, ONES, PAGES = "list", "one", "page"
WITHIN = {LISTS: 100.0, ONES: 100.0, PAGES: 250.0}  # ms at the 95th percentile: issue 6's bounds

Make = Callable[["Ledger"], str]


@dataclass(frozen=True)
class Ledger:
    """What is known of the ledger that is asked, and the chance by which questions are drawn."""

    workflows: int
    random: Random
    loaded_at: datetime

    def number(self) -> int:
        """A workflow of Civitai's, by its number: those have the ids that are known here."""
        return self.random.randrange(0, self.workflows, loaded.OPEN_EVERY)

    def days_ago(self, most: float = loaded.DAYS) -> datetime:
        """An instant within so many days."""
        return self.loaded_at - timedelta(days=self.random.uniform(0, most))

    def cursor(self) -> str:
        """A place somewhere deep in the list of workflows."""
        return cursors.encode("w", {"first_seen_at": self.days_ago(), "pk": self.number() + 1})

    def customer(self) -> str:
        """The label of one of thousands of customers."""
        return f"customer={self.random.randrange(loaded.CUSTOMERS)}"


@dataclass(frozen=True)
class Question:
    """One kind of question: how often it comes compared with others, and its address, drawn anew each time."""

    name: str
    sort: str
    weight: float
    path: Make


def _list(filters: str, path: Make, weight: float = 1.0) -> Question:
    return Question(f"/v1/workflows {filters}".strip(), LISTS, weight, path)


def _query(path: str, *pairs: tuple[str, str | datetime]) -> str:
    told = [(name, stamp(value) if isinstance(value, datetime) else value) for name, value in pairs]
    return f"{path}?{urlencode(told)}"


def _workflows(*pairs: tuple[str, str | datetime]) -> str:
    return _query("/v1/workflows", *pairs)


def _of_source(one: Ledger) -> str:
    return one.random.choice(("civitai", "beeble", "evolink", "removebgvideo", "fal"))


def _label(one: Ledger) -> tuple[str, str]:
    key, value = one.customer().split("=")
    return f"context.{key}", value


def _day(one: Ledger) -> list[tuple[str, str | datetime]]:
    at = one.days_ago(loaded.DAYS - 1)
    return [("since", at), ("until", at + timedelta(days=1))]


def _one_of(one: Ledger) -> str:
    return f"civitai/{loaded.old_name(one.number())}"


WORKFLOWS = (
    _list("", lambda one: "/v1/workflows", 6),
    _list("cursor", lambda one: _workflows(("cursor", one.cursor())), 4),
    _list("source", lambda one: _workflows(("source", _of_source(one))), 2),
    _list("source, rare", lambda one: _workflows(("source", loaded.RARE_SOURCE))),
    _list("source cursor", lambda one: _workflows(("source", _of_source(one)), ("cursor", one.cursor()))),
    _list("status", lambda one: _workflows(("status", one.random.choice(("failed", "processing", "succeeded")))), 3),
    _list("status, rare", lambda one: _workflows(("status", loaded.RARE_STATUS))),
    _list("status, none", lambda one: _workflows(("status", "unassigned"))),
    _list("status status cursor", lambda one: _workflows(*_TWO, ("cursor", one.cursor()))),
    _list("source status", lambda one: _workflows(("source", _of_source(one)), ("status", "failed")), 2),
    _list("open", lambda one: _workflows(("open", "true")), 3),
    _list("open=false", lambda one: _workflows(("open", "false"))),
    _list("open source", lambda one: _workflows(("open", "true"), ("source", _of_source(one)))),
    _list("stale", lambda one: _workflows(("stale", "true")), 2),
    _list("attention=any", lambda one: _workflows(("attention", "any")), 2),
    _list("attention", lambda one: _workflows(("attention", one.random.choice(loaded.KINDS)))),
    _list("step_type", lambda one: _workflows(("step_type", one.random.choice(("imageGen", "videoUpscale"))))),
    _list("step_type, rare", lambda one: _workflows(("step_type", loaded.RARE_TYPE))),
    _list("step_type status", lambda one: _workflows(("step_type", "videoGen"), ("status", "failed"))),
    _list("context", lambda one: _workflows(("context.team", one.random.choice(("red", "violet")))), 2),
    _list("context, seldom", lambda one: _workflows(_label(one)), 2),
    _list("context status", lambda one: _workflows(("context.team", "red"), ("status", "failed"))),
    _list("since", lambda one: _workflows(("since", one.days_ago(1))), 2),
    _list("since until", lambda one: _workflows(*_day(one))),
    _list("since until status", lambda one: _workflows(*_day(one), ("status", "failed"))),
    _list("q, an id", lambda one: _workflows(("q", loaded.old_name(one.number()))), 3),
    _list("q, most of an id", lambda one: _workflows(("q", loaded.old_name(one.number())[:-3]))),
    _list("q, one character", lambda one: _workflows(("q", one.random.choice("8abf")))),
    _list("q, beginning of a ref", lambda one: _workflows(("q", f"order-{one.random.randrange(16**3):03x}"))),
    _list("q, beginning of a job", lambda one: _workflows(("q", f"{one.random.randrange(16**4):04x}"))),
    _list("q, a blob", lambda one: _workflows(("q", loaded.blob_name(one.number())))),
    _list("q, every blob", lambda one: _workflows(("q", "LOADED"))),
)  # fmt: skip
_TWO = (("status", "failed"), ("status", "canceled"))


def _also(path: str, *names: tuple[str, float, Make]) -> tuple[Question, ...]:
    return tuple(Question(f"{path} {filters}".strip(), LISTS, weight, make) for filters, weight, make in names)


OTHERS = (
    *_also(
        "/v1/jobs",
        ("", 1, lambda one: "/v1/jobs"),
        ("status", 1, lambda one: _query("/v1/jobs", ("status", one.random.choice(("failed", "processing"))))),
        ("status, rare", 1, lambda one: _query("/v1/jobs", ("status", loaded.RARE_STATUS))),
        ("source status", 1, lambda one: _query("/v1/jobs", ("source", "fal"), ("status", "failed"))),
        ("workflow", 1, lambda one: _query("/v1/jobs", ("workflow", loaded.old_name(one.number())))),
    ),
    *_also(
        "/v1/deliveries",
        ("", 2, lambda one: "/v1/deliveries"),
        ("source", 1, lambda one: _query("/v1/deliveries", ("source", _of_source(one)))),
        ("outcome", 2, lambda one: _query("/v1/deliveries", ("outcome", "quarantined"))),
        ("kind", 1, lambda one: _query("/v1/deliveries", ("kind", "fetch"))),
        ("workflow", 2, lambda one: _query("/v1/deliveries", ("workflow", loaded.old_name(one.number())))),
        ("since until", 1, lambda one: _query("/v1/deliveries", *_day(one))),
    ),
    *_also(
        "/v1/stats",
        ("", 2, lambda one: "/v1/stats"),
        ("source since", 1, lambda one: _query("/v1/stats", ("source", "civitai"), ("since", one.days_ago(7)))),
    ),
    *_also("/v1/sources", ("", 2, lambda one: "/v1/sources")),
    *_also("/v1/audit", ("", 1, lambda one: "/v1/audit")),
    Question("/v1/workflows/…", ONES, 8, lambda one: f"/v1/workflows/{_one_of(one)}"),
    Question("/v1/workflows/…/transitions", ONES, 2, lambda one: f"/v1/workflows/{_one_of(one)}/transitions"),
    Question("/v1/workflows/…/evidence", ONES, 2, lambda one: f"/v1/workflows/{_one_of(one)}/evidence"),
    Question("/v1/workflows/…/incident", ONES, 1, lambda one: f"/v1/workflows/{_one_of(one)}/incident"),
)
DASHBOARD = tuple(
    Question(f"page {name}", PAGES, weight, make)
    for name, weight, make in (
        ("/attention", 3, lambda one: "/attention"),
        ("/workflows", 5, lambda one: "/workflows"),
        ("/workflows cursor", 1, lambda one: _query("/workflows", ("cursor", one.cursor()))),
        ("/workflows state=open", 2, lambda one: "/workflows?state=open"),
        ("/workflows state=stale", 1, lambda one: "/workflows?state=stale"),
        ("/workflows status, rare", 1, lambda one: f"/workflows?status={loaded.RARE_STATUS}"),
        ("/workflows q, label", 1, lambda one: _query("/workflows", ("q", one.customer()))),
        ("/workflows q, one character", 1, lambda one: "/workflows?q=8"),
        ("/workflows/…", 5, lambda one: f"/workflows/{_one_of(one)}"),
        ("/sources", 2, lambda one: "/sources"),
        ("/sources/civitai 30 days", 1, lambda one: "/sources/civitai?range=30d"),
        ("/deliveries", 2, lambda one: "/deliveries"),
        ("/deliveries quarantined", 1, lambda one: "/deliveries?outcome=quarantined"),
        ("/passes", 1, lambda one: "/passes"),
        ("/audit", 1, lambda one: "/audit"),
    )
)
EVERYTHING = (*WORKFLOWS, *OTHERS, *DASHBOARD)


def drawn(ledger: Ledger) -> Question:
    """Return the next question, by the weights."""
    return ledger.random.choices(EVERYTHING, [one.weight for one in EVERYTHING])[0]


def ledger_of(workflows: int, seed: int) -> Ledger:
    """Return what is known of a ledger loaded with so many workflows just now."""
    return Ledger(workflows, Random(seed), datetime.now(UTC))
