"""Group commit: deliveries queue up, one transaction takes them all, then all are answered.

Nobody waits for company: a delivery that comes alone is committed alone, and whatever arrives while that commit runs
goes together in the next one. The heavier the traffic, the larger the batches, and the cheaper each delivery.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.counters import Counters
from receiver.ledger.ahead import Ahead
from receiver.ledger.apply import apply
from receiver.ledger.aside import HEAVY
from receiver.ledger.database import Database, LedgerError
from receiver.ledger.database import now as database_now
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.entries import Entry, Result
from receiver.ledger.faults import ABORTED, HELD, data_at_fault, sqlstate
from receiver.ledger.learning import Lessons
from receiver.ledger.parting import COMMIT_WITHIN
from receiver.ledger.recent import Recent
from receiver.ledger.store import held_elsewhere
from receiver.logs import log_event
from receiver.patience import Patience
from receiver.seldom import Seldom
from receiver.suspects import Suspects

TRIES = 3  # of one batch that PostgreSQL aborts in favour of another transaction
BATCH_BYTES = 32 * 2**20  # bodies in one transaction; the statement that carries them is built in memory
SUSPECTS = 4  # one place in so many of the queue is for deliveries of workflows that were poison lately
# A workflow that somebody holds must not hold up all the others.
WAIT_NO_LONGER = 1.0
CAREFUL_FOR = 10.0  # seconds after that in which a batch first sees which of its workflows can be had


class IntakeFull(Exception):
    """More deliveries wait for their commit than we are willing to hold. Nothing was kept."""


class IntakeUnavailable(Exception):
    """No commit is to be had just now, or it is in doubt: the delivery must come again. It may have been kept."""


class _Waiting(NamedTuple):
    """One entry and whoever waits for it."""

    entry: Entry
    answer: asyncio.Future[Result]


class _Held(Exception):
    """Some of the batch's workflows are held by another transaction: `places` says which entries must come again."""

    def __init__(self, places: set[int]) -> None:
        super().__init__("another transaction holds the workflow")
        self.places = places


class _Poisoned(Exception):
    """Something in the batch cannot be applied, whenever it is tried: the database `refused` it, or we failed."""

    def __init__(self, *, refused: bool) -> None:
        super().__init__()
        self.refused = refused


class Intake:
    """The one door deliveries come in by. Belongs to the event loop it is started in.

    At most `max_queue` entries, and `max_bytes` of their bodies, wait; at most `max_batch` go into one transaction.
    """

    def __init__(
        self, database: Database, *, max_queue: int = 2000, max_batch: int = 200, max_bytes: int = 256 * 2**20
    ) -> None:
        self._database = database
        self._max_queue, self._max_batch, self._max_bytes = max_queue, max_batch, max_bytes
        self._queue: deque[_Waiting] = deque()
        self._suspects = Suspects()
        self._apart: deque[_Waiting] = deque()  # suspects, which are tried one by one
        self._wake = asyncio.Event()
        self._open = False
        self._committer: asyncio.Task[None] | None = None
        self._busy_since: float | None = None
        self._careful_until = 0.0
        self._recent = Recent()
        self.ahead = Ahead(database, self._recent)
        self._patience = Patience(lambda: IntakeUnavailable("the ledger did not commit in time"))
        self.counters = Counters()
        self.lessons = Lessons()  # written by the janitor
        self._say_failed = Seldom("commit failed", level="error")
        self._say_poisoned = Seldom("poisoned", level="error")

    def start(self) -> None:
        """Begin to commit. Call once, inside the event loop."""
        self._open = True
        self._committer = asyncio.create_task(self._commit_forever(), name="intake")

    async def submit(self, entry: Entry, ends: float | None = None) -> Result:
        """Return what became of an entry, once it is committed.

        Raises IntakeFull when too much waits, IntakeUnavailable when it could not be kept, when that is not known, or
        when it is not committed at `ends` (by the event loop's clock). What was answered so before its turn came is not
        committed. Cancelling the wait cancels nothing else: the entry may still be committed.
        """
        return await self.queue(entry, ends)

    def queue(self, entry: Entry, ends: float | None = None) -> asyncio.Future[Result]:
        """Queue an entry, as `submit` does, and return what its result is to be had from. Raises as `submit` does, at
        once or through the future."""
        if not self._open:
            raise IntakeUnavailable("this receiver is shutting down")
        if len(self._queue) >= self._max_queue or self.counters.held > self._max_bytes:
            raise IntakeFull(f"{len(self._queue)} deliveries wait for their commit")
        waiting = _Waiting(entry, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if ends is not None:
            self._patience.watch(waiting.answer, ends)
        self.counters.queued = len(self._queue)
        self.counters.held += len(entry.body)
        self._wake.set()
        return waiting.answer

    async def drain(self) -> None:
        """Take nothing new, and return when everything that was queued has been answered."""
        self._open = False
        self._wake.set()
        if self._committer is not None:
            await asyncio.wait({self._committer})

    async def stop(self) -> None:
        """Stop now: what is still queued is answered IntakeUnavailable. Safe after `drain`, and twice."""
        self._open = False
        if self._committer is not None:
            self._committer.cancel()
            await asyncio.wait({self._committer})
            self._committer = None

    def silent_for(self, now: float) -> float:
        """Return for how many seconds the committer has given no sign although there is work; `now` is monotonic.

        Infinite when it is not running.
        """
        if self._committer is None or self._committer.done():
            return float("inf")
        return 0.0 if self._busy_since is None else now - self._busy_since

    async def _commit_forever(self) -> None:
        batch: list[_Waiting] = []
        try:
            while True:
                while self._queue or self._apart:
                    self._busy_since = began = time.monotonic()
                    batch = list(self._next_batch())
                    try:
                        await self._settle(batch)
                        await self._try_suspects(time.monotonic() - began)
                    except Exception as error:  # noqa: BLE001 - a bug of ours; whoever comes next must not suffer from it
                        await self._stumble(batch, error)
                self._busy_since = None
                if not self._open:
                    return
                self._wake.clear()
                await self._wake.wait()
        finally:
            # Only `stop`, or a mistake of ours, leaves anything behind; it must not wait for ever.
            self._open = False
            left = [*batch, *self._apart, *self._queue]
            self._refuse(left, IntakeUnavailable("this receiver is shutting down"))
            self._queue.clear()
            self._apart.clear()
            self.counters.queued = self.counters.held = 0
            await self.ahead.close()

    async def _stumble(self, batch: Sequence[_Waiting], error: Exception) -> None:
        """Go on after a mistake of ours outside any transaction; what became of these deliveries nobody knows."""
        log_event("intake stumbled", level="error", error=error, deliveries=len(batch) + len(self._apart))
        self._refuse([*batch, *self._apart], self._fails("the receiver made a mistake"))
        self.counters.held -= sum(len(waiting.entry.body) for waiting in self._apart)
        self._apart.clear()
        await asyncio.sleep(0.2)  # should it happen each time, there is time for others between

    def _next_batch(self) -> Iterator[_Waiting]:
        size = weight = 0
        for place in range(min(self._max_batch, len(self._queue))):
            size += len(self._queue[0].entry.body)
            weight += self._queue[0].entry.weight
            if place and (size > BATCH_BYTES or weight > HEAVY):
                break
            waiting = self._queue.popleft()
            self.counters.queued = len(self._queue)
            self.counters.held -= len(waiting.entry.body)
            if waiting.answer.cancelled() or not waiting.answer.done():
                yield waiting

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        """Commit a batch and answer everyone in it; halve it for as long as something in it is poison.

        What is of a workflow that was poison lately is put aside first.
        """
        if self._suspects:
            batch = self._without_suspects(batch)
        apart = self.ahead.apart([waiting.entry for waiting in batch])
        if apart:
            await self._commit_or_halve([waiting for n, waiting in enumerate(batch) if n not in apart])
            batch = [batch[n] for n in sorted(apart)]
        if batch:
            await self._commit_or_halve(batch)

    def _without_suspects(self, batch: Sequence[_Waiting]) -> list[_Waiting]:
        now = time.monotonic()
        good = []
        for waiting in batch:
            if not self._suspects.holds(waiting.entry, now):
                good.append(waiting)
            elif len(self._apart) < self._max_queue // SUSPECTS:
                self._apart.append(waiting)
                self.counters.held += len(waiting.entry.body)
            else:
                self._refuse([waiting], IntakeUnavailable("too many deliveries of its workflow cannot be applied"))
        return good

    async def _try_suspects(self, seconds: float) -> None:
        """Work on suspects one by one, for no longer than the others have just had: these must not wait for them."""
        ends = time.monotonic() + seconds
        while self._apart:
            await self._commit_or_halve([self._apart[0]])
            self.counters.held -= len(self._apart.popleft().entry.body)
            if self._queue and time.monotonic() > ends:
                return

    async def _commit_or_halve(self, batch: Sequence[_Waiting], *, again: bool = False) -> None:
        try:
            results = await self._commit([waiting.entry for waiting in batch])
        except IntakeUnavailable as error:
            self._refuse(batch, error)
        except _Held as held:
            blocked = [waiting for n, waiting in enumerate(batch) if n in held.places]
            self._refuse(blocked, IntakeUnavailable("another transaction holds its workflow"))
            rest = [waiting for n, waiting in enumerate(batch) if n not in held.places]
            if rest:
                await self._settle(rest)
        except _Poisoned as error:
            if len(batch) == 1 and not error.refused and not again:
                # What the database did not say itself may have been a connection on its way out.
                await self._commit_or_halve(batch, again=True)
            elif len(batch) == 1:
                self._suspects.add(batch[0].entry, time.monotonic())
                await self._set_aside(batch[0], error)
            else:
                middle = len(batch) // 2
                await self._settle(batch[:middle])
                await self._settle(batch[middle:])
        else:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(result)

    def _refuse(self, batch: Sequence[_Waiting], error: IntakeUnavailable) -> None:
        for waiting in batch:
            if not waiting.answer.done():
                self.counters.failed += 1
                waiting.answer.set_exception(IntakeUnavailable(str(error)))

    async def _set_aside(self, waiting: _Waiting, error: _Poisoned) -> None:
        """Keep an entry that cannot be applied as it came, for a person to look at: a retry would fare no better."""
        cause = error.__cause__
        self._say_poisoned.log(error=cause, source=waiting.entry.source, sha256=waiting.entry.body_sha256)
        problem = f"the ledger could not take it: {type(cause).__name__}"
        plain = replace(waiting.entry, reading=None, problem=problem, look=None, told=None)
        # What it says of itself may be what cannot be stored, so each try says less.
        for tried in (plain, replace(plain, workflow_id=None, ref=None, identity=None, headers={})):
            try:
                results = await self._commit([tried])
            except IntakeUnavailable as unavailable:
                return self._refuse([waiting], unavailable)
            except _Poisoned as again:
                error = again
                continue
            self.counters.quarantined += 1
            if not waiting.answer.done():
                waiting.answer.set_result(results[0])
            return None
        log_event("quarantine failed", level="error", error=error.__cause__, source=waiting.entry.source)
        return self._refuse([waiting], IntakeUnavailable("the delivery could not be kept"))

    async def _commit(self, entries: Sequence[Entry]) -> list[Result]:
        """Apply entries in a transaction of their own. Raises IntakeUnavailable or _Poisoned."""
        for left in reversed(range(TRIES)):
            self._busy_since = began = time.monotonic()
            try:
                by_memory = left == TRIES - 1 and began >= self._careful_until
                results = await self.ahead.commit(entries) if by_memory else None
                if results is None:
                    results = await self._apply(entries, careful=began < self._careful_until)
            except _Held:
                raise
            except (LedgerError, *DRIVER_ERRORS) as error:
                raise self._unavailable(error) from error
            except DBAPIError as error:
                if sqlstate(error) in ABORTED and left:
                    continue
                if sqlstate(error) == HELD and left:
                    self._careful_until = time.monotonic() + CAREFUL_FOR
                    continue
                if data_at_fault(error, self._database.dialect):
                    raise _Poisoned(refused=True) from error
                raise self._unavailable(error) from error
            except Exception as error:  # a bug of ours that this batch sets off; the others must not suffer from it
                raise _Poisoned(refused=False) from error
            self._recent.keep(result.state for result in results)
            self.lessons.note_delivered(results)
            self.counters.committed_now(len(entries), time.monotonic() - began)
            return results
        raise AssertionError("the last try either returns or raises")

    async def _apply(self, entries: Sequence[Entry], *, careful: bool) -> list[Result]:
        light = sum(entry.weight for entry in entries) <= HEAVY
        async with self._database.write(wait=WAIT_NO_LONGER, within=COMMIT_WITHIN if light else None) as conn:
            if careful:
                await self._see_what_is_held(conn, entries)
            return await apply(conn, entries, await database_now(conn), self._recent)

    async def _see_what_is_held(self, conn: AsyncConnection, entries: Sequence[Entry]) -> None:
        """Return when no entry's workflow is held by another transaction. Raises _Held with those that are."""
        keys = [(entry.source, entry.workflow_id) for entry in entries]
        held = await held_elsewhere(conn, [(source, name) for source, name in keys if name])
        if held:
            self._careful_until = time.monotonic() + CAREFUL_FOR
            raise _Held({n for n, key in enumerate(keys) if key in held})

    def _unavailable(self, error: Exception) -> IntakeUnavailable:
        self._say_failed.log(error=error)
        return self._fails(str(error) if isinstance(error, LedgerError) else "the database failed to commit")

    def _fails(self, why: str) -> IntakeUnavailable:
        """Return what whoever waits is answered, and note that commits fail just now: `/readyz` tells."""
        self.counters.failed_at = time.monotonic()
        self.counters.failing_since = self.counters.failing_since or self.counters.failed_at
        return IntakeUnavailable(why)
