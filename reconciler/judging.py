"""What an answer says of its whole source: stop it, let it go on, leave it alone for a while, its clock is off."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.database import Database, now
from receiver.ledger.entries import Answer
from receiver.logs import log_event
from reconciler import pauses
from reconciler.brake import BRAKE, UNREACHABLE, Trip
from reconciler.claiming import Task
from reconciler.plan import Refetch
from reconciler.refetch import TOO_MANY, Asked
from reconciler.source import Source

_OFFSET_EVERY = timedelta(minutes=1)
# Answers that show upstream took our key; a gateway that is busy may not have looked at it.
_LET_IN = (Answer.SHOWN, Answer.GONE, Answer.REFUSED, Answer.UNREADABLE)


def judge(source: Source, task: Task, asked: Asked) -> None:
    """Decide, before an answer is believed, whether it is to be, and whether its source is to be stopped.

    What is not believed becomes HELD. A source to be stopped counts as `held` until that is written down.
    """
    if asked.answer is Answer.CREDENTIALS:
        refused = Trip(pauses.CREDENTIALS, asked.entry.problem or "")
        asked.trip = refused if source.because != refused.because else None
    elif asked.sent and asked.status != TOO_MANY and isinstance(task.plan, Refetch):
        _judge(source, task, asked)
    if asked.trip is not None:
        source.because = asked.trip.because
        source.held += 1


def _judge(source: Source, task: Task, asked: Asked) -> None:
    state, look = task.state, asked.entry.look
    if state is None or look is None:
        return  # an id that only a hint has named: that nobody knows it says nothing
    if state.node.status.terminal and state.ephemeral:
        return  # upstream forgets these at their end
    verdict = source.health.judge(state.id, asked.answer, source.clock.now(), first=not task.lost)
    asked.trip = verdict.trip if source.because is None else None
    stopped = source.because or (asked.trip.because if asked.trip else None)
    if verdict.hold or (stopped == BRAKE and asked.answer in (Answer.GONE, Answer.REFUSED)):
        look.answer = asked.answer = Answer.HELD
    if stopped == UNREACHABLE and asked.answer is Answer.BUSY:
        look.charged = False  # upstream is at fault, not this workflow


async def learn(database: Database, source: Source, asked: Asked, *, probe: bool) -> None:
    """Keep what an answer says of its whole source, in a transaction of its own: looks lock workflows first, and
    claims lock sources first. Raises one of commit.TROUBLE."""
    trip = asked.trip
    let_in = probe and _lets_in(source, asked)  # an answer to what was sent before the pause proves nothing
    offset = source.offset.worth_writing(source.offset_known)
    at = source.clock.now()
    if source.offset_written_at is not None and at - source.offset_written_at < _OFFSET_EVERY:
        offset = None
    busy = asked.status == TOO_MANY
    if trip is None and not let_in and not busy and offset is None:
        return
    if offset is not None:
        source.offset_known, source.offset_written_at = offset, at
    async with database.write() as connection:
        if trip is not None:
            await _stop(connection, source, trip)
        elif let_in:
            await _go_on(connection, source)
        if busy:
            wait = timedelta(seconds=source.wait_after_too_many(asked.entry.look))
            await pauses.note_busy(connection, source.name, await now(connection) + wait)
            log_event("source-busy", level="warning", source=source.name, seconds=wait.total_seconds())
        if offset is not None:
            await pauses.note_clock(connection, source.name, offset)


def _lets_in(source: Source, asked: Asked) -> bool:
    if source.because == BRAKE:
        return asked.answer is Answer.SHOWN
    if source.because == UNREACHABLE:
        return asked.answer is not Answer.BUSY or asked.status == TOO_MANY
    return asked.answer in _LET_IN


async def _stop(connection: AsyncConnection, source: Source, trip: Trip) -> None:
    wait = source.probe_after(trip.because, 0)
    await pauses.pause(connection, source.name, trip.note, await now(connection), because=trip.because, wait=wait)
    log_event("source-paused", level="error", source=source.name, because=trip.because, message=trip.note)


async def _go_on(connection: AsyncConnection, source: Source) -> None:
    await pauses.resume(connection, source.name, await now(connection), believe=source.because == BRAKE)
    source.because = None
    log_event("source-resumed", source=source.name)
