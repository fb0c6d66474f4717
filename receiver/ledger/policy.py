"""What one source's configuration and its upstream's habits mean for the ledger. Plain data, built by `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from receiver.ledger.durations import Learned
from receiver.ledger.records import Trust


@dataclass(frozen=True, slots=True)
class Policy:
    """How a source's workflows are believed and when they are looked at.

    `poll` are the waits in seconds between looks at fresh work until the first believed delivery; the last one repeats.
    `silence` is how long without news before we ask, `deadline` how long a workflow may run before a person is told.
    `keep_fresh` is for how long after its end a workflow's blobs keep a URL that works; zero means on demand only.
    `outputs_live` is for how long after the end upstream keeps outputs that tell no clock of their own.
    `retry_horizon` is for how long upstream tries to deliver one event (R18).
    `bulk` is for how many workflows one read may answer. `learned` is what endings so far have taught of this source.
    `collect` says that outputs are copied before upstream deletes them, `warn_deletion` that a person is told of those
    that are not.
    `expire_gone` says that what upstream has forgotten ends as expired (`vanishing`).
    `hint_quota` is how many unsigned, untokened deliveries a source may have kept in an hour.
    """

    trust: Trust
    poll: tuple[float, ...] = (2, 5, 10, 15, 30)
    silence: timedelta = timedelta(minutes=2)
    deadline: timedelta = timedelta(minutes=30)
    keep_fresh: timedelta = timedelta(hours=1)
    restartable: bool = False
    hint_quota: int = 1000
    outputs_live: timedelta | None = None
    lease: timedelta = timedelta(seconds=90)
    collect: bool = False
    warn_deletion: bool = True
    expire_gone: bool = False
    retry_horizon: timedelta = timedelta(0)
    bulk: int = 1
    learned: Learned = field(default_factory=Learned, compare=False)
