"""The filters of the list of workflows, as an address says them: forgiving of empty fields, since forms send those."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from receiver.ledger.listing import BadFilter, WorkflowFilter
from receiver.providers.instants import instant

PAGE = 50
SPANS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
_NAMES = ("q", "source", "status", "state", "attention", "step_type", "since")
_MOST_WORDS = 8


@dataclass(frozen=True, slots=True)
class PageFilter:
    """What an address asks for: `fields` are its filters without the empty ones, in a fixed order."""

    fields: tuple[tuple[str, str], ...]
    cursor: str | None = None

    @classmethod
    def read(cls, query: str) -> PageFilter:
        """Take an address's query apart; what is no filter is left out."""
        pairs = parse_qsl(query[:4000], max_num_fields=None)
        fields = [(name, value.strip()) for wanted in _NAMES for name, value in pairs if name == wanted]
        cursor = next((value for name, value in pairs if name == "cursor" and value), None)
        return cls(tuple(dict.fromkeys(pair for pair in fields if pair[1])), cursor)

    @property
    def query(self) -> str:
        """The filters as a query, without the place in the list."""
        return urlencode(self.fields)

    def at(self, cursor: str) -> str:
        """Return the query of the page that begins at a place."""
        return urlencode([*self.fields, ("cursor", cursor)])

    def one(self, name: str) -> str:
        """Return a filter's value, '' when it is not set."""
        return next((value for key, value in self.fields if key == name), "")

    def several(self, name: str) -> tuple[str, ...]:
        """Return every value of a filter."""
        return tuple(value for key, value in self.fields if key == name)

    def wanted(self, now: datetime) -> WorkflowFilter:
        """Return what the ledger is to look for. Raises BadFilter."""
        q, context = _searched(self.one("q"))
        state = self.one("state")
        if state not in ("", "open", "ended", "stale"):
            raise BadFilter("state must be open, ended or stale")
        return WorkflowFilter(
            source=self.one("source") or None,
            statuses=self.several("status"),
            open={"open": True, "ended": False}.get(state),
            stale=True if state == "stale" else None,
            attention=self.one("attention") or None,
            step_type=self.one("step_type") or None,
            context=context,
            since=_since(self.one("since"), now),
            q=q,
            limit=PAGE,
            cursor=self.cursor,
        )


def _searched(text: str) -> tuple[str | None, dict[str, str]]:
    """Return (beginning of an id, context labels) of what was typed: `key=value` is a label, another word an id."""
    words = text.split()
    if len(words) > _MOST_WORDS:
        raise BadFilter(f"search for at most {_MOST_WORDS} words")
    ids = [word for word in words if "=" not in word.strip("=")]
    if len(ids) > 1:
        raise BadFilter("search for one id (or its beginning), and key=value for context: two ids match nothing")
    labels = dict(word.split("=", 1) for word in words if word not in ids)
    return (ids[0] if ids else None), labels


def _since(text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    if text in SPANS:
        return now - SPANS[text]
    found = instant(text)
    if found is None:
        raise BadFilter(f"since must be one of {', '.join(SPANS)}, or an instant such as 2026-01-21T22:21:26Z")
    return found
