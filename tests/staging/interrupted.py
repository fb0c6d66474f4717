"""An SQLite connection whose n-th statement fails half-way, by SQLite's own means.

SQLite tells each statement it begins (its trace) and asks now and then whether to go on (its progress handler). A
statement that is told to stop fails, and if it was writing, its whole transaction is rolled back with it, as when the
disk fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from receiver.ledger.database import Database


@dataclass
class Interrupter:
    """Counts the statements of a database's one writer from `arm` on."""

    database: Database
    count: int = 0
    fired: bool = False
    met: str = ""
    _at: int = 0
    _stop: bool = False

    async def arm(self, at: int) -> None:
        """Let the `at`-th statement from now on fail, once."""
        async with self.database.write() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            raw._conn.set_trace_callback(self._begins)
            raw._conn.set_progress_handler(self._goes_on, 1)
        # The COMMIT that ends this block is counted: it begins after the hooks are in place.
        self.count, self.fired, self._at, self._stop, self.met = 0, False, at, False, ""

    def disarm(self) -> None:
        """Let everything through."""
        self._at, self._stop = 0, False

    def _begins(self, statement: str) -> None:
        if self._at and not statement.startswith("ROLLBACK"):
            self.count += 1
            if self.count == self._at and not self.fired:
                self._stop, self.met = True, statement

    def _goes_on(self) -> int:
        if not self._stop:
            return 0
        self._stop, self.fired = False, True
        return 1
