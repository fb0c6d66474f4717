"""What the intake counts of itself, for `/metrics` and `/readyz`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What the intake has done since its start. `queued` and `held` (bytes) are as of now, times are in seconds."""

    queued: int = 0
    held: int = 0
    batches: int = 0
    committed: int = 0
    quarantined: int = 0  # entries the ledger could not take as they were
    failed: int = 0  # entries answered IntakeUnavailable
    failing_since: float | None = None  # monotonic; None once a commit went well
    failed_at: float = 0.0  # monotonic, of the last commit that failed
    last_batch: int = 0
    last_commit: float = 0.0

    def committed_now(self, entries: int, seconds: float) -> None:
        """Count a batch that was committed, and how long that took."""
        self.batches += 1
        self.committed += entries
        self.last_batch, self.last_commit = entries, seconds
        self.failing_since = None
