"""What to do with a file that is to be copied, and when again. Pure: no I/O, no clock, no chance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.ledger.copies import Job
from receiver.providers.expiry import is_expiry

# A URL that ends sooner is renewed first.
WORKS_FOR = timedelta(seconds=2)
# Upstreams and their CDNs are away for hours at times; a file is given up when upstream deletes it, or after this many
# tries, days later.
MOST_TRIES = 60
# A server's word that there is no such file, or that it is not for us, is asked for again so often.
MOST_REFUSALS = 4
_LONGEST_WAIT = timedelta(hours=1)
_LONGEST_RENEWAL = timedelta(minutes=5)
_AT_MOST = timedelta(days=40)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Copy it from this URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Its URL does not work: have it renewed, and come back at `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Fail:
    """It cannot be copied; `why` is a sentence for a person."""

    why: str


def decide(job: Job, now: datetime) -> Fetch | Renew | Fail:
    """Decide on a claimed copy; `now` is the database's clock."""
    blob = job.blob
    if blob is None or blob.gone_at is not None:
        return Fail("upstream no longer has this file")
    clocks = [at for at in (blob.media_expires_at, blob.record_expires_at) if at is not None]
    works = blob.available and blob.url is not None and blob.url_confirmed and job.ended
    alive = blob.url_expires_at is None or blob.url_expires_at > now + WORKS_FOR
    if works and alive and blob.url is not None:
        return Fetch(blob.url)
    if clocks and min(clocks) <= now:
        return Fail("upstream has deleted this file before it could be copied")
    if now - job.queued_at > _AT_MOST:
        return Fail("upstream gives no address for this file any more")
    return Renew(now + min(max((now - job.queued_at) / 5, timedelta(seconds=2)), _LONGEST_RENEWAL))


def refused(job: Job, status: int, said: bytes, now: datetime) -> Renew | Fail | datetime:
    """Decide on an answer that is not the file: a renewal, the end, or the instant of the next try.

    A 403 whose time is over is no block: the URL is renewed (R17).
    """
    blob = job.blob
    if status in (401, 403, 410) and is_expiry(said, blob.url_expires_at if blob is not None else None, now):
        return Renew(again(job, now))
    if status in (401, 403, 404, 410) and job.tries >= MOST_REFUSALS:
        words = {404: "there is no such file", 410: "the file is gone"}.get(status, "the file is blocked")
        return Fail(f"the file's server says that {words} ({status})")
    return again(job, now) if job.tries < MOST_TRIES else Fail(f"the file's server keeps answering {status}")


def again(job: Job, now: datetime) -> datetime:
    """Return when to try again: after 2, 4, 8 … seconds, an hour at most."""
    return now + min(timedelta(seconds=2 ** min(job.tries, 12)), _LONGEST_WAIT)
