"""Copying outputs before upstream deletes them: claiming, one try after the other, and what comes of it (`collect`).

Beside the looks and on the lowest lane of all: copies have places of their own, and no look waits for one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Self
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.addresses import ForbiddenAddress
from receiver.config import Config
from receiver.config.files import files_lie_at
from receiver.ledger import attention, checks, copies, store
from receiver.ledger.attention import Concern
from receiver.ledger.copies import Job
from receiver.ledger.database import Database, now
from receiver.ledger.policy import Policy
from receiver.ledger.schedule import is_between, uncollected_between
from receiver.logs import log_event
from receiver.providers.base import UpstreamBusy
from receiver.shelves import Shelf, ShelfTrouble, place_of, shelf_of
from reconciler.commit import TROUBLE
from reconciler.copying import Packed, Refused, TooLarge, Unfinished, Whole, copy
from reconciler.copyplan import MOST_TRIES, Fail, Fetch, Renew, again, decide, refused
from reconciler.source import Source
from reconciler.transport import Downloads

LOOK_EVERY = 0.5  # seconds between looks at what is to be copied
SWEEP_EVERY = 10.0
# A try may take so long; what it has brought stays, and the next one goes on from there.
WITHIN = timedelta(minutes=30)
# While copies cannot be kept, none is begun for so long, in seconds.
PAUSE = 15.0
_ADOPTED_AT_ONCE = 200  # workflows looked through in one transaction
_ENOUGH = 100  # due copies of a source with which older files wait


class Lost(Exception):
    """The claim has gone to somebody else."""


class Copies:
    """The copies under way in this process. Use as `async with`.

    `counted` is told what came of each: `copied`, `copies_failed`, `copies_put_off`. `stirred` is set when one ends.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        sources: Mapping[str, Source],
        holder: str,
        *,
        counted: Callable[[str], None],
        stirred: asyncio.Event,
    ) -> None:
        self._config = config
        self._database = database
        self._sources = {name: source for name, source in sources.items() if source.policy.collect}
        self._others = sorted(sources.keys() - self._sources.keys())
        self._holder = holder
        self._counted = counted
        self._stirred = stirred
        self._shelf = shelf_of(config.collect)
        self._downloads: dict[str, Downloads] = {}
        self._running: dict[str, dict[asyncio.Task[None], Job]] = {name: {} for name in self._sources}
        self._adopting: dict[str, int] | None = None
        self._looked_at = self._swept_at = self._paused_until = float("-inf")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for name, source in self._sources.items():
            files = Downloads(
                source.account, concurrency=self._config.collect.concurrency, allow_private=source.allow_private
            )
            self._downloads[name] = await self._stack.enter_async_context(files)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dismiss()
        await self._stack.aclose()

    @property
    def busy(self) -> int:
        """How many copies are under way."""
        return sum(map(len, self._running.values()))

    def hasten(self) -> None:
        """Let the next `start` look, however lately one has."""
        self._looked_at = float("-inf")

    async def start(self) -> int:
        """Claim copies that are due and begin them; returns how many. Looks twice a second at most.

        Raises one of commit.TROUBLE when the database is in trouble.
        """
        at = time.monotonic()
        if self._shelf is None or at - self._looked_at < LOOK_EVERY:
            return 0
        self._looked_at = at
        if at - self._swept_at >= SWEEP_EVERY:
            self._swept_at = at
            await self._sweep(self._shelf)
        if not self._sources or at < self._paused_until:
            return 0
        async with self._database.read() as connection:
            due = await copies.backlog(connection, self._sources, await now(connection))
        await self._adopt(due)
        begun = 0
        for name in sorted(due):
            room = self._config.collect.concurrency - len(self._running[name])
            if room > 0:
                begun += await self._begin(self._shelf, name, room)
        return begun

    async def _begin(self, shelf: Shelf, name: str, room: int) -> int:
        lease = self._config.server.lease
        async with self._database.write() as connection:
            at = await now(connection)
            jobs = await copies.claim(connection, name, room, at, holder=self._holder, lease=lease)
        for job in jobs:
            running = asyncio.create_task(self._try(shelf, job))
            self._running[name][running] = job
            running.add_done_callback(lambda done, name=name: self._ended(name, done))  # type: ignore[misc]
        return len(jobs)

    def _ended(self, name: str, running: asyncio.Task[None]) -> None:
        job = self._running[name].pop(running)
        self.hasten()
        self._stirred.set()
        broken = None if running.cancelled() else running.exception()
        if broken is not None:
            log_event("copy-broken", level="error", error=broken, source=name, id=job.workflow_id, blob=job.blob_id)

    async def _try(self, shelf: Shelf, job: Job) -> None:
        """Make one try, holding the lease for as long as it takes."""
        began = time.monotonic()
        holding = asyncio.create_task(self._hold(job, asyncio.current_task()))
        try:
            outcome, message = await self._attempt(shelf, job)
        except Lost:
            outcome, message = "lost", "another reconciler has it"
        except asyncio.CancelledError:
            if not holding.done():
                raise
            outcome, message = "lost", "its lease had ended"
        except TROUBLE as error:
            outcome, message = "lost", f"the ledger could not be written ({type(error).__name__})"
        finally:
            holding.cancel()
        self._counted(outcome)
        log_event(
            "copy", level="info" if outcome == "copied" else "warning", source=job.source, id=job.workflow_id,
            blob=job.blob_id, outcome=outcome, attempt=job.tries, message=message,
            ms=round((time.monotonic() - began) * 1000, 1),
        )  # fmt: skip

    async def _hold(self, job: Job, work: asyncio.Task[None] | None) -> None:
        """Renew the lease; end the work when it has gone to somebody else."""
        lease = self._config.server.lease
        while True:
            await asyncio.sleep(lease.total_seconds() / 3)
            try:
                async with self._database.write() as connection:
                    mine = await copies.set_mine(connection, job, leased_until=await now(connection) + lease)
            except TROUBLE:
                continue  # the fence decides in the end
            if not mine and work is not None:
                work.cancel()
                return

    async def _attempt(self, shelf: Shelf, job: Job) -> tuple[str, str]:
        """Return the outcome of one try, put into the ledger, and a message for the log."""
        plan = decide(job, job.claimed_at)
        part = Unfinished(shelf.unfinished, job.id, job.fence)
        try:
            if job.place is not None and job.size is not None and await shelf.size(job.place) == job.size:
                await self._kept(job)  # an earlier try put it there and did not come to say so
                return "copied", "it was there already"
            if isinstance(plan, Fail):
                return await self._fail(job, plan.why)
            if isinstance(plan, Renew):
                return await self._renew(job, plan.until)
            with part:
                whole = await self._bring(job, plan, part)
                await self._put(shelf, job, whole, part)
        except Refused as error:
            return await self._refused(job, error)
        except (TooLarge, Packed, ForbiddenAddress) as error:
            part.forget()
            return await self._fail(job, str(error))
        except UpstreamBusy as error:
            if job.tries >= MOST_TRIES:
                return await self._fail(job, str(error))
            return await self._later(job, str(error))
        except ShelfTrouble as error:
            return await self._nowhere(job, str(error))
        except OSError as error:
            return await self._nowhere(job, f"cannot write to {shelf.unfinished}: {error.strerror}")
        return "copied", f"{whole.size} bytes"

    async def _bring(self, job: Job, plan: Fetch, part: Unfinished) -> Whole:
        if not files_lie_at(self._config.sources[job.source], urlsplit(plan.url)):
            raise ForbiddenAddress("upstream gave an address at which its files do not lie")
        largest = self._config.collect.largest
        return await copy(self._downloads[job.source], plan.url, part, largest=largest, within=WITHIN)

    async def _put(self, shelf: Shelf, job: Job, whole: Whole, part: Unfinished) -> None:
        """Put a whole file on the shelf. Where it will lie is written down first, so that it is never lost there."""
        place = place_of(job.source, job.workflow_id or "", job.id, whole.sha256, job.blob_id)
        if job.place not in (None, place):
            await shelf.remove(job.place or "")  # an earlier try had other bytes
        async with self._database.write() as connection:
            facts = {"place": place, "size": whole.size, "sha256": whole.sha256, "type": whole.type}
            if not await copies.set_mine(connection, job, **facts):
                raise Lost
        await shelf.keep(whole.file, place, whole.type)
        part.forget()
        await self._kept(job)

    async def _kept(self, job: Job) -> None:
        async with self._database.write() as connection:
            at = await now(connection)
            if not await copies.end(connection, job, "kept", kept_at=at, error=None):
                raise Lost
            await _calm(connection, job, self._sources[job.source].policy, at)

    async def _fail(self, job: Job, why: str) -> tuple[str, str]:
        async with self._database.write() as connection:
            at = await now(connection)
            if not await copies.end(connection, job, "failed", error=why):
                raise Lost
            subject, note = job.workflow_id or "", f"{job.blob_id} cannot be copied: {why}"
            concern = Concern("workflow", job.source, subject, "uncollected", job.workflow, None, note)
            await attention.raise_concerns(connection, [concern], at)
        return "copies_failed", why

    async def _renew(self, job: Job, until: datetime) -> tuple[str, str]:
        """Have the URL renewed by a look, or by itself, on the lowest lane; that is no try of ours."""
        why = "its URL has expired; waiting for a fresh one"
        async with self._database.write() as connection:
            if not await copies.hand_back(connection, job, until, tries=job.tries - 1, error=why):
                raise Lost
            await copies.stir(connection, job, await now(connection))
        return "copies_put_off", why

    async def _later(self, job: Job, why: str, until: datetime | None = None, *, ask: bool = False) -> tuple[str, str]:
        async with self._database.write() as connection:
            at = await now(connection)
            if not await copies.hand_back(connection, job, until or again(job, at), error=why):
                raise Lost
            if ask and job.workflow_id is not None:
                await checks.want(connection, job.source, job.workflow_id, job.workflow, at)
        return "copies_put_off", why

    async def _refused(self, job: Job, error: Refused) -> tuple[str, str]:
        async with self._database.read() as connection:
            at = await now(connection)
        verdict = refused(job, error.status, error.said, at)
        if isinstance(verdict, Fail):
            return await self._fail(job, verdict.why)
        if isinstance(verdict, Renew):
            # The URL may not know its own end: then only a look can bring another.
            return await self._later(job, "its URL has expired; waiting for a fresh one", verdict.until, ask=True)
        return await self._later(job, str(error), verdict, ask=error.status in (401, 403, 404, 410))

    async def _nowhere(self, job: Job, why: str) -> tuple[str, str]:
        """Copies cannot be kept just now: that is no fault of this file, and a person should know."""
        self._paused_until = time.monotonic() + PAUSE
        async with self._database.write() as connection:
            at = await now(connection)
            if not await copies.hand_back(
                connection, job, at + timedelta(seconds=PAUSE), tries=job.tries - 1, error=why
            ):
                raise Lost
            concern = Concern("source", job.source, "", "uncollected", None, None, why)
            await attention.raise_concerns(connection, [concern], at)
        return "copies_put_off", why

    async def _adopt(self, due: Mapping[str, int]) -> None:
        """Queue files that were known before copying was switched on, a few at a time."""
        if self._adopting is None:
            async with self._database.read() as connection:
                done = await copies.adopted(connection, [*self._sources, *self._others])
            self._adopting = dict.fromkeys(self._sources.keys() - done, 0)
            for name in done & set(self._others):
                async with self._database.write() as connection:
                    await copies.note_adopted(connection, name, None)
        for name, after in list(self._adopting.items()):
            if due.get(name, 0) >= _ENOUGH:
                continue
            async with self._database.write() as connection:
                at = await now(connection)
                left, _ = await copies.adopt(connection, name, after, _ADOPTED_AT_ONCE, at)
                if left is None:
                    await copies.note_adopted(connection, name, at)
            if left is None:
                del self._adopting[name]
            else:
                self._adopting[name] = left

    async def _sweep(self, shelf: Shelf) -> None:
        """Remove the copies of workflows that have been forgotten."""
        async with self._database.read() as connection:
            left = await copies.orphans(connection, 100)
        for name, source, place in left:
            try:
                if place is not None:
                    await shelf.remove(place)
            except ShelfTrouble as error:
                log_event("copy-not-removed", level="warning", source=source, message=str(error))
                return
            async with self._database.write() as connection:
                await copies.drop(connection, name)

    async def dismiss(self) -> None:
        """Stop what is under way and give it back, due as it was; what has come of a file stays for the next try."""
        left = {task: job for running in self._running.values() for task, job in running.items()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        try:
            for job in left.values():
                async with self._database.write() as connection:
                    await copies.hand_back(connection, job, await now(connection), tries=job.tries - 1)
        except TROUBLE as error:
            log_event("leases-kept", level="warning", error=error, holder=self._holder, count=len(left))


async def _calm(connection: AsyncConnection, job: Job, policy: Policy, at: datetime) -> None:
    """Close what a person was told of a file that is copied now, and of copies that could not be kept."""
    await attention.close(connection, "source", job.source, "", ("uncollected",), at)
    key = (job.source, job.workflow_id or "")
    state = (await store.load(connection, [key])).get(key)
    if state is None or state.pk is None:
        return
    known = (await copies.of(connection, [(state.pk, state.run)]))[state.pk]
    if not is_between(uncollected_between(state, policy, known), at):
        await attention.close(connection, "workflow", *key, ("uncollected",), at)
