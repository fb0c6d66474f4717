"""One configured source at work: its provider, its pace, its connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Self

from receiver.config import Budget, Config
from receiver.ledger.checks import Claim
from receiver.ledger.entries import Look
from receiver.ledger.policy import Policy
from receiver.ledger.records import Trust
from receiver.providers import PROVIDERS
from receiver.providers.base import Account, Provider, UpstreamBusy
from reconciler.brake import Health, probe_after
from reconciler.budgets import SEND_WITHIN
from reconciler.clock import LedgerClock
from reconciler.pace import LONGEST_WAIT, Pace, Part, Slots
from reconciler.pauses import ClockOffset
from reconciler.transport import Transport

# For how long upstream's refusal to answer for many at once is taken at its word, in seconds.
BULK_REFUSED_FOR = 600.0


@dataclass(slots=True)
class Source:
    """Everything needed to ask one upstream. `offset_known` is what the database holds of its clock.

    `singly_until` is until when (seconds of a monotonic clock) workflows are asked about one by one although the
    provider knows a request for many: upstream has refused it. `because` is why it is stopped, as the database
    says, or as `held` answers are about to make it say. `health` is what its latest answers say of it.
    """

    name: str
    provider: Provider
    account: Account
    policy: Policy
    pace: Pace
    transport: Transport
    clock: LedgerClock
    item: timedelta
    allow_private: bool = False
    budget: Budget | None = None
    singly_until: float = 0.0
    alone_first: bool = False
    offset: ClockOffset = field(default_factory=ClockOffset)
    offset_known: float | None = None
    offset_written_at: datetime | None = None
    because: str | None = None
    health: Health = field(default_factory=Health)
    held: int = 0
    rng: Random = field(default_factory=Random)

    @property
    def wants_keys(self) -> bool:
        """Whether its deliveries are checked with keys that upstream publishes."""
        return self.provider.habits.publishes_keys and self.account.trust is Trust.SIGNED

    def slots(self, at: float, part: Part | None = None) -> Slots:
        """Return what may be claimed at `at` as far as this process can tell (`Pace.slots`)."""
        bulk = self.provider.habits.bulk_size if at >= self.singly_until else 1
        return replace(self.pace.slots(at, part), bulk=bulk, alone_first=self.alone_first)

    def stopped(self, at: float) -> bool:
        """Whether nothing but a probe may be sent: its key is refused, or upstream is too busy."""
        return self.because is not None or self.held > 0 or self.pace.paused(at)

    def in_time(self, claim: Claim) -> None:
        """Return when a claim is young enough to send its request; raise UpstreamBusy for one that was left lying.

        Its place in the budget is kept for a request that is sent at once (`budgets`).
        """
        if self.clock.now() - claim.claimed_at > SEND_WITHIN:
            raise UpstreamBusy(f"this process was held up for more than {SEND_WITHIN.seconds} s; nothing was sent")

    def probe_after(self, because: str, failed: int) -> timedelta:
        """Return how long to wait before a probe, after so many that failed."""
        return probe_after(because, failed, self.rng)

    def wait_after_too_many(self, look: Look | None) -> float:
        """Return for how many seconds to leave upstream alone after a 429: as it says, else a request's share of time.

        Whoever has no budget and is told no time waits as after any other failure.
        """
        if look is not None and look.retry_after is not None:
            return look.retry_after
        if self.budget is not None:
            return min(1 / self.budget.per_second, LONGEST_WAIT)
        return look.backoff if look is not None else 0.0

    def refuse_bulk(self, at: float) -> None:
        """Ask about workflows one by one for a while."""
        self.singly_until = at + BULK_REFUSED_FOR

    @classmethod
    def of(cls, config: Config, name: str, clock: LedgerClock, providers: Mapping[str, Provider] = PROVIDERS) -> Self:
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
            providers[source.provider],
            account,
            config.policy(name),
            Pace(source.concurrency),
            transport,
            clock,
            config.server.item,
            source.allow_private,
            source.request_budget,
            health=Health(source.brake),
        )
