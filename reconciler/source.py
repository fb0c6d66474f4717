"""One configured source at work: its provider, its pace, its connections."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Self

from receiver.config import Config
from receiver.ledger.policy import Policy
from receiver.providers import provider_named
from receiver.providers.base import Account, Provider
from reconciler.clock import LedgerClock
from reconciler.pace import Pace
from reconciler.pauses import ClockOffset
from reconciler.transport import Transport


@dataclass(slots=True)
class Source:
    """Everything needed to ask one upstream. `offset_known` is what the database holds of its clock."""

    name: str
    provider: Provider
    account: Account
    policy: Policy
    pace: Pace
    transport: Transport
    offset: ClockOffset = field(default_factory=ClockOffset)
    offset_known: float | None = None
    offset_written_at: datetime | None = None
    paused: bool = False
    rng: Random = field(default_factory=Random)

    @classmethod
    def of(cls, config: Config, name: str, clock: LedgerClock) -> Self:
        """Put one source together; nothing is opened yet. Raises ConfigError for a name that is not configured."""
        source = config.source(name)
        account = source.account(name)
        transport = Transport(
            account,
            clock=clock.now,
            item=config.server.item,
            concurrency=source.concurrency,
            allow_private=source.allow_private,
        )
        return cls(
            name,
            provider_named(source.provider),
            account,
            config.policy(name),
            Pace(source.concurrency, source.request_budget),
            transport,
        )
