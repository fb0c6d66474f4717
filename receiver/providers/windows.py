"""Listings that cannot be asked for a stretch of time: page through them, newest first, and stop where it begins.

The stretch and the page before travel in the fragment of the request's URL, which no HTTP client ever sends: a page is
read with nothing but the request it answers (`Provider.read_list`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from receiver.ledger.records import Reading
from receiver.providers.base import Page, Request, Unreadable
from receiver.providers.instants import instant, rfc3339


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, both ends included; None is open."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, at: datetime | None) -> bool:
        """Whether an instant lies in it. One that upstream does not tell might, and so counts."""
        if at is None:
            return True
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)

    def is_passed(self, times: Sequence[datetime | None]) -> bool:
        """Whether a page with these times, newest first, reaches back beyond the beginning.

        No upstream documents its order: a page that is not newest first proves nothing, and paging goes on to the end.
        """
        known = [at for at in times if at is not None]
        return bool(known) and self.since is not None and known[-1] < self.since and known[0] >= known[-1]


def windowed(request: Request, since: datetime, until: datetime) -> Request:
    """Return the request for the first page, with the stretch in its URL's fragment."""
    marks = urlencode({"since": rfc3339(since), "until": rfc3339(until)})
    return replace(request, url=urlunsplit(urlsplit(request.url)._replace(fragment=marks)))


def paged(
    asked: Request, items: Sequence[Any], read: Callable[[Any], Reading], further: Mapping[str, str] | None
) -> Page:
    """Return one page: what `read` makes of each item within the stretch, and the request for the next page.

    `further` are the query parameters of the next page, None when upstream says that this is the last. An item that is
    Unreadable counts as skipped. There is no next page after an empty one, after one that begins like the one before it
    (upstream ignores the parameter), and beyond the stretch.
    """
    parts = urlsplit(asked.url)
    marks = dict(parse_qsl(parts.fragment))
    window = Window(instant(marks.get("since")), instant(marks.get("until")))
    readings: list[Reading] = []
    for item in items:
        try:
            readings.append(read(item))
        except Unreadable:
            continue
    times = [reading.observations[0].submitted_at for reading in readings]
    first = readings[0].workflow_id if readings else ""
    over = further is None or not items or marks.get("first") == first or window.is_passed(times)
    return Page(
        readings=tuple(reading for reading, at in zip(readings, times, strict=True) if window.holds(at)),
        next=None if over or further is None else _turned(asked, further, {**marks, "first": first}),
        skipped=len(items) - len(readings),
    )


def _turned(asked: Request, further: Mapping[str, str], marks: Mapping[str, str]) -> Request:
    parts = urlsplit(asked.url)
    query = {**dict(parse_qsl(parts.query)), **further}
    return replace(asked, url=urlunsplit(parts._replace(query=urlencode(query), fragment=urlencode(marks))))
