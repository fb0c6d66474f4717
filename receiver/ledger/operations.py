"""The tables of running the thing: passes, sources, rejected requests, tokens and who is logged in, permits.

Not part of what is true.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from receiver.ledger.columns import Instant, Json, RowId
from receiver.ledger.tables import SCOPES, metadata, one_of

passes = Table(
    "passes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # cron, open, daemon
    Column("holder", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("counts", Json, nullable=False),
    Column("outcome", Text),
)

source_state = Table(
    "source_state",
    metadata,
    Column("source", Text, primary_key=True),
    Column("paused_until", Instant),
    Column("paused_because", Text),
    Column("probe_at", Instant),
    Column("clock_offset", Float),  # seconds upstream's clock is ahead of ours
    Column("keys", Json),
    Column("keys_fetched_at", Instant),
    Column("hint_window_at", Instant),
    Column("hint_count", Integer, nullable=False, server_default="0"),
    Column("requests", Json),  # what was lately sent of its budget, and what is on its way (reconciler.budgets)
    Column("busy_until", Instant),  # upstream said that it is too much (429)
    Column("keys_wanted_at", Instant),  # somebody could not check a signature without newer keys
    Column("keys_tried_at", Instant),
    Column("probes_failed", Integer),  # in a row, of a source that is paused
    Column("brake_off_until", Instant),  # a probe got through: until then its 404s are believed (reconciler.brake)
    Column("collecting_since", Instant),  # outputs known before then have been queued to be copied
    Column("places", Json),  # which reconciler may send how many requests at once (reconciler.places)
)

# How long workflows take, learned from those that have ended (ledger.durations). '' is any model, any type of step.
durations = Table(
    "durations",
    metadata,
    Column("source", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("step_type", Text, primary_key=True),
    Column("counts", Json, nullable=False),  # {"<bucket>": weight}
    Column("told", Float, nullable=False),  # endings a delivery told of
    Column("missed", Float, nullable=False),  # endings none told of
    Column("learned_at", Instant, nullable=False),
)

# What is done now and then for a whole source (or for all, then `source` is ''): backfill, audit, prune. One process at
# a time does it, and what it was about to do next is kept, so that another can go on after a kill.
chores = Table(
    "chores",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("leased_until", Instant),
    Column("leased_by", Text),
    Column("begun_at", Instant),
    Column("ended_at", Instant),
    Column("outcome", Text),
    Column("progress", Json),  # null when there is nothing to go on with
    Column("found", Json),  # the figures of the last run that ended
)

rejections = Table(
    "rejections",
    metadata,
    Column("source", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("samples", Json, nullable=False),  # the last few: when, from where, which headers, how long the body
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
    one_of("scope", SCOPES),
)

# Every write by a person: who (the token's name, or the login's), what, and on what.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", RowId, Identity(always=False), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),  # track, refetch, acknowledge, replay, share, …
    Column("source", Text),
    Column("subject", Text),  # the workflow, the delivery, the blob
    Column("details", Json),
    Index("ix_audit_log_at", "at"),
    Index("ix_audit_log_subject", "subject", "id"),
)

# A browser that is logged in, by the hash of what its cookie holds; worth as much as its token, and as long.
sessions = Table(
    "sessions",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("token", Text, ForeignKey("tokens.name", ondelete="CASCADE"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# The one-time codes of login links, by their hash; used up by being deleted.
login_codes = Table(
    "login_codes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("token", Text, ForeignKey("tokens.name", ondelete="CASCADE"), nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# Filters of the list of workflows that somebody gave a name, for everybody.
saved_links = Table(
    "saved_links",
    metadata,
    Column("name", Text, primary_key=True),
    Column("query", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# SQLite's way of letting `replay --apply` past the guard for one transaction (R2); PostgreSQL has a setting for that
# and leaves this table empty. No row has the name that `until` asks for, so that a transaction which leaves a permit
# behind cannot commit.
permits = Table(
    "permits",
    metadata,
    Column("name", Text, primary_key=True),
    Column("until", Text, ForeignKey("permits.name", deferrable=True, initially="DEFERRED"), nullable=False),
    one_of("name", ("replay",)),
    CheckConstraint("until <> name", name="until"),
)
