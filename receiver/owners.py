"""One worker commits all deliveries of a workflow, whichever worker they came to.

An intake commits fast because it remembers what it wrote last. If two wrote the same workflows, neither's memory would
be true, and each would have to ask the database first. So a worker passes on what belongs to another one, over sockets
that they have had from their parent, and answers its client with what it is told. That is for speed alone: while an
owner is away the others commit by themselves. What an owner had when it died is in doubt, as in every commit that
breaks off, and answered so.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from random import getrandbits
from zlib import crc32

from receiver.intake import Intake, IntakeFull, IntakeUnavailable
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry, Result
from receiver.ledger.records import EvidenceKind, Outcome
from receiver.patience import Patience

SHARED_BY = 2  # workers whose deliveries one of them commits: larger batches are worth more than a second writer
LONGEST = 32 * 2**10  # bytes of a body that is passed on; what costs more to send than to look up stays
AT_ONCE = 64 * 2**10  # bytes of bodies in one message; Linux takes some 200 KB
LARGEST = 2**20  # bytes of a message
READ_AT_ONCE = 8  # messages, before others have their turn
UNSENT = 1000  # entries that may wait for an owner who takes no messages
AGAIN = 0.01  # seconds until one who had no room is tried again
SILENT = 1.0  # seconds without a word from an owner who owes one, until it is asked nothing more
LOOK_EVERY = 0.25

Boxes = Sequence[tuple[socket.socket, socket.socket]]
_Asked = tuple[int, Entry, float | None]  # number, entry, until when it is waited for
_Told = tuple[int, str, str, bool]  # number, evidence, outcome or one of the words below, whether over its quota
_FULL, _UNAVAILABLE, _LEAVING = "full", "unavailable", "leaving"
_NEWS, _BEGINS, _HERE, _GONE = range(4)  # what a message says of its sender
TOLD_AT_ONCE = 500


class _NoWord(Exception):
    """The owner cannot be asked: whoever has the entry commits it."""


def boxes(count: int) -> Boxes:
    """Return the inboxes of so many workers, each as the ends to read from and to write to; before they are forked.

    Empty where the system has no such sockets: then each worker commits what comes to it.
    """
    made: list[tuple[socket.socket, socket.socket]] = []
    try:
        for _ in range(count):
            made.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    except OSError:
        for pair in made:
            for end in pair:
                end.close()
        return []
    for pair in made:
        for end in pair:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    return made


class _Peer:
    """Another worker, as this one sees it."""

    def __init__(self, box: socket.socket) -> None:
        self.box = box
        self.here = False  # until it is heard of
        self.quiet_since = 0.0  # since when it owes us a word
        self.waiting: dict[int, asyncio.Future[Result]] = {}
        self.asking: list[_Asked] = []
        self.telling: list[_Told] = []
        self.state = _NEWS
        self.sending: asyncio.Handle | None = None
        self.life: int | None = None  # a file that can be read once its process has ended

    def lost(self, *, in_doubt: bool) -> None:
        """Expect nothing more of what it was asked, and ask nothing until it is heard of again.

        What has been sent may have been committed if that is `in_doubt`; nothing else has.
        """
        self.here = False
        unsent = {number for number, _, _ in self.asking}
        waiting, self.waiting = self.waiting, {}
        self.asking.clear()
        for number, answer in waiting.items():
            if not answer.done():
                doubtful = in_doubt and number not in unsent
                answer.set_exception(IntakeUnavailable("the worker that had it has ended") if doubtful else _NoWord())


class OwningIntake(Intake):
    """The intake of worker `number` of those whose inboxes `boxes` are."""

    def __init__(self, database: Database, number: int, boxes: Boxes) -> None:
        super().__init__(database)
        self._number, self._inbox = number, boxes[number][0]
        self._peers = [_Peer(box) for _, box in boxes]
        self._owners = -(-len(boxes) // SHARED_BY)  # the last ones: the first has the reconciler
        self._last = getrandbits(48)  # number asked under; who was here before us is still owed answers
        self._owed = Patience(lambda: IntakeUnavailable("the ledger did not commit in time"))
        self._looking: asyncio.TimerHandle | None = None
        self._gone = False
        self.passed_on = 0

    def start(self) -> None:
        """Begin to commit, also for others, and tell them."""
        super().start()
        self._loop = asyncio.get_running_loop()
        self._forget()
        self._loop.add_reader(self._inbox, self._read)
        self._say(_BEGINS)

    async def submit(self, entry: Entry, ends: float | None = None) -> Result:
        """Return what became of an entry, once its owner has committed it; raises as every intake does."""
        peer = self._owner(entry)
        if peer is not None:
            try:
                return await self._ask(peer, entry, ends)
            except _NoWord:
                pass
        return await super().submit(entry, ends)

    async def drain(self) -> None:
        """Take nothing new, and return when everything has been answered; the others hear of it."""
        await super().drain()
        await asyncio.sleep(0)  # until what was answered last has been told
        self._go()

    async def stop(self) -> None:
        """Stop now, as every intake does; the others hear of it."""
        await super().stop()
        self._go()

    def _go(self) -> None:
        if self._gone:
            return
        self._gone = True
        self._say(_GONE)
        self._loop.remove_reader(self._inbox)
        for peer in self._peers:
            self._lose(peer, in_doubt=True)
            if peer.sending is not None:
                peer.sending.cancel()

    def _owner(self, entry: Entry) -> _Peer | None:
        """Return whom to pass an entry on to, None when it stays here."""
        if entry.kind is not EvidenceKind.DELIVERY or not entry.creates or len(entry.body) > LONGEST:
            return None
        name = f"{entry.source}/{entry.workflow_id}".encode("utf-8", "surrogatepass")
        number = len(self._peers) - 1 - crc32(name) % self._owners
        peer = self._peers[number]
        if number == self._number or not peer.here or len(peer.asking) >= UNSENT or not self._open:
            return None
        return peer

    def _ask(self, peer: _Peer, entry: Entry, ends: float | None) -> asyncio.Future[Result]:
        loop = self._loop
        answer: asyncio.Future[Result] = loop.create_future()
        self._last += 1
        self.passed_on += 1
        if not peer.waiting:
            peer.quiet_since = loop.time()
        peer.waiting[self._last] = answer
        peer.asking.append((self._last, entry, ends))
        if ends is not None:
            self._owed.watch(answer, ends)
        if self._looking is None:
            self._looking = loop.call_later(LOOK_EVERY, self._look)
        self._send_soon(peer)
        return answer

    def _look(self) -> None:
        """Ask nothing more of those who have owed a word for too long. What they have they may still commit."""
        for peer in self._peers:
            if peer.waiting and self._loop.time() - peer.quiet_since > SILENT:
                peer.here = False
        again = any(peer.waiting for peer in self._peers)
        self._looking = self._loop.call_later(LOOK_EVERY, self._look) if again else None

    def _watch(self, peer: _Peer, process: int) -> None:
        """Reckon with a worker again, and learn of its process's end at once, where the system tells of it."""
        try:
            peer.life = os.pidfd_open(process)
        except ProcessLookupError:
            return
        except (OSError, AttributeError):
            pass
        else:
            self._loop.add_reader(peer.life, self._died, peer)
        peer.here = True

    def _died(self, peer: _Peer) -> None:
        self._lose(peer, in_doubt=True)

    def _lose(self, peer: _Peer, *, in_doubt: bool) -> None:
        peer.lost(in_doubt=in_doubt)
        if peer.life is not None:
            self._loop.remove_reader(peer.life)
            os.close(peer.life)
            peer.life = None

    # --- messages

    def _say(self, state: int) -> None:
        for number, peer in enumerate(self._peers):
            if number != self._number:
                peer.state = state
                self._send(peer)

    def _send_soon(self, peer: _Peer) -> None:
        """Send at the end of this turn of the event loop, with all that it brings."""
        if peer.sending is None:
            peer.sending = self._loop.call_soon(self._send, peer)

    def _send(self, peer: _Peer) -> None:
        peer.sending = None
        while peer.asking or peer.telling or peer.state != _NEWS:
            count = size = 0
            while count < len(peer.asking) and size < AT_ONCE:
                size += len(peer.asking[count][1].body)
                count += 1
            told = (self._number, peer.state, os.getpid(), peer.asking[:count], peer.telling[:TOLD_AT_ONCE])
            message = pickle.dumps(told, 5)
            if len(message) > LARGEST and count:  # by what is not its bodies
                self._keep(peer, count)
                continue
            try:
                peer.box.send(message)
            except BlockingIOError:
                peer.sending = self._loop.call_later(AGAIN, self._send, peer)
                return
            except OSError:  # larger than this system takes
                if count:
                    self._keep(peer, count)
                    continue
            del peer.asking[:count], peer.telling[:TOLD_AT_ONCE]
            peer.state = _NEWS

    def _keep(self, peer: _Peer, count: int) -> None:
        """Have the first of what a peer was to be asked committed here, and send it the rest."""
        for number, _, _ in peer.asking[:count]:
            answer = peer.waiting.pop(number, None)
            if answer is not None and not answer.done():
                answer.set_exception(_NoWord())
        del peer.asking[:count]

    def _forget(self) -> None:
        """Throw away what one before us was asked: it has been answered otherwise by now."""
        with suppress(BlockingIOError):
            while True:
                self._inbox.recv(LARGEST)

    def _read(self) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                message = self._inbox.recv(LARGEST)
            except BlockingIOError:
                return
            # From processes of our own: nobody else has, or could open, the other end.
            number, state, process, asked, told = pickle.loads(message)  # noqa: S301 - see above
            self._heard(self._peers[number], told)
            self._note(self._peers[number], state, process)
            for one in asked:
                self._take(self._peers[number], *one)

    def _note(self, peer: _Peer, state: int, process: int) -> None:
        """Take in what a message says of its sender, which is here unless it says that it is going."""
        if state in (_BEGINS, _GONE):
            # Whoever goes has answered all that it has read; nobody reads the rest.
            self._lose(peer, in_doubt=state == _BEGINS)
        if state == _BEGINS:
            peer.state = _HERE  # nor does it know of us
            self._send_soon(peer)
        if state != _GONE and not peer.here:
            if peer.life is None:
                self._watch(peer, process)
            else:
                peer.here = True

    def _heard(self, peer: _Peer, told: Sequence[_Told]) -> None:
        peer.quiet_since = self._loop.time()
        for number, evidence, word, over_quota in told:
            answer = peer.waiting.pop(number, None)
            if answer is None or answer.done():
                continue
            if word == _LEAVING:
                answer.set_exception(_NoWord())
            elif word == _FULL:
                answer.set_exception(IntakeFull("too much waits for its commit"))
            elif word == _UNAVAILABLE:
                answer.set_exception(IntakeUnavailable("the database failed to commit"))
            else:
                answer.set_result(Result(evidence, Outcome(word), over_quota=over_quota))

    def _take(self, peer: _Peer, number: int, entry: Entry, ends: float | None) -> None:
        """Commit an entry for another worker."""
        if not self._open:
            self._tell(peer, (number, "", _LEAVING, False))
            return
        try:
            answer = self.queue(entry, ends)
        except IntakeFull:
            self._tell(peer, (number, "", _FULL, False))
        else:
            answer.add_done_callback(partial(self._answered, peer, number))

    def _answered(self, peer: _Peer, number: int, answer: asyncio.Future[Result]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            self._tell(peer, (number, "", _UNAVAILABLE, False))
        else:
            result = answer.result()
            self._tell(peer, (number, result.evidence, result.outcome.value, result.over_quota))

    def _tell(self, peer: _Peer, told: _Told) -> None:
        peer.telling.append(told)
        self._send_soon(peer)
