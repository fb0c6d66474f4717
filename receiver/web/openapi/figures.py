"""The models of figures."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from receiver.ledger.records import Trust
from receiver.web.openapi.parts import Count, Cursor, JsonObject, Shape, Stamp

Seconds = Annotated[float, Field(ge=0)]
# What is counted at its instant may be taken back at a later one: a small stretch of time may show less than nothing.
Change = int
ByName = dict[str, Change]


class Lag(Shape):
    """How long after upstream's own instant we knew of endings, by the clocks' difference corrected."""

    count: int
    p50: Seconds | None
    p90: Seconds | None
    p99: Seconds | None


class Happened(Shape):
    """What happened in a stretch of time."""

    created: Change
    ended: ByName = Field(description="Endings by status, when we learned of them.")
    learned: ByName = Field(description="Endings by what told us first: delivery, look, track.")
    undelivered: Change = Field(description="Endings that no delivery named, or none in time; it may still come.")
    deliveries: ByName = Field(description="Deliveries by outcome.")
    contradictions: Change
    retracted: Change
    corrected: Change
    lag: Lag


class Point(Happened):
    """What happened in one minute or hour, which begins `at`."""

    at: Stamp


class Missed(Shape):
    """Endings that no delivery named within upstream's retry horizon and five minutes, among those old enough."""

    since: Stamp
    until: Stamp
    endings: int
    missed: int | None
    rate: float | None = Field(description="Null when nothing ended, and where deliveries bring no endings.")


class LastDay(Happened):
    """What happened since this time yesterday."""

    since: Stamp
    missed: Missed


class Totals(Shape):
    """How many there are just now."""

    workflows: dict[str, Count] = Field(description="By status; every status is there.")
    open: Count
    attention: dict[str, Count] = Field(description="What is open for a person to look at, by kind.")


class Pause(Shape):
    """Why nothing is asked of a source for now."""

    because: str
    until: Stamp | None
    probe_at: Stamp | None


class Budget(Shape):
    """How many requests upstream may be sent, and how many of them are used up just now."""

    limit: str
    used: Count
    left: Count


class Chore(Shape):
    """What was last done for a whole source, and what it found."""

    begun_at: Stamp
    ended_at: Stamp | None = Field(description="Null while it is under way, or when it was killed.")
    outcome: str | None
    found: dict[str, Any] | None = Field(description="Figures; of an audit `drift`, the share that was not the same.")


class Source(Totals):
    """One configured source."""

    name: str
    provider: str
    trust: Trust
    due: dict[str, Count] = Field(description="Workflows that are due to be looked at, by lane.")
    paused: Pause | None
    busy_until: Stamp | None = Field(description="Upstream asked for patience until then.")
    probes_failed: Count
    brake_off_until: Stamp | None
    clock_offset: float | None = Field(description="Seconds upstream's clock is ahead of ours.")
    budget: Budget | None
    rejected: dict[str, Count] = Field(description="Deliveries that were turned away, ever, by reason.")
    audit: Chore | None = Field(description="When settled workflows were last asked about again.")
    backfill: Chore | None = Field(description="When what was submitted lately was last listed.")
    last_day: LastDay


class SourcePage(Shape):
    """The configured sources, by name."""

    items: list[Source]
    next_cursor: Cursor


class Statistics(Shape):
    """Totals as of now, and what happened in each minute or hour; those without anything are left out."""

    at: Stamp
    since: Stamp
    until: Stamp
    span: str
    totals: Totals
    sources: dict[str, Totals]
    series: list[Point]


class AuditLine(Shape):
    """One thing that somebody did by hand."""

    id: int
    at: Stamp
    who: str = Field(description="The token's name, or `command line`.")
    what: str = Field(description="track, refetch, acknowledge, replay, correct, share, forget, log in, and the like.")
    source: str | None
    subject: str | None = Field(description="The workflow, delivery, file, token or link it was done to.")
    details: JsonObject | None = Field(description="What else there is to say; what came of it as `outcome`.")


class AuditPage(Shape):
    """What people did, newest first."""

    items: list[AuditLine]
    next_cursor: Cursor
