"""HTTP/1.1 as uvicorn speaks it, with limits on what a client may cost.

uvicorn bounds neither the size of a request's head nor the time a request may take to arrive, lets one read bring any
number of pipelined requests, and waits for ever for clients that read no answers. Here each connection knows since when
it waits for what, and the `Door` looks at all of them twice a second. A request that arrives in one piece, as nearly
all do, passes by all of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from receiver.web import limits, refusals
from receiver.web.bodies import LATE
from receiver.web.door import Door
from receiver.web.flow import NOBODY_LISTENS, NOTHING_WAITS, Flow
from receiver.web.limits import FIELDS, HEAD
from receiver.web.refusals import Refusal, Refused
from receiver.web.room import announced, head_size

NOTHING, IN_HEAD, IN_BODY = range(3)  # what of a request is arriving


class Protocol(HttpToolsProtocol):
    """One connection. Subclasses have the `door` it comes in by."""

    door: Door

    # Not among uvicorn's attributes: more than thirty in one dictionary cost each connection a kilobyte.
    __slots__ = (
        "_arriving", "_began", "_body_began", "_deaf", "_head_cost", "_held_back", "_leaving", "_lent", "_looked_at",
        "_payload", "_rested", "_running", "_unread", "_unread_since", "_wire", "counted_as",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = NOTHING_WAITS
        self.counted_as: str | None = None
        self._arriving = NOTHING
        self._began = 0.0  # when the connection, or a later request's first byte, came
        self._body_began = 0.0  # when it turned out that a body does not come with its head; 0 while it has not
        self._rested = 0.0  # when the last answer was complete
        self._wire = 0  # bytes read since the request's first, and
        self._payload = 0  # those of its body
        self._head_cost = 0  # bytes its head takes up, once the body is arriving
        self._lent = 0  # bytes of the door's room
        self._looked_at = 0  # what `_wire` was at the last look
        self._held_back: ASGI3Application | None = None  # what is to answer `cycle`, whose body has not arrived
        # The last request begun; `cycle` is the last one that began to arrive.
        self._running: RequestResponseCycle | None = None
        self._deaf = False  # whatever it still says is dropped
        self._leaving = False  # it has been told to go
        self._unread = 0  # bytes of answers it had not taken at the instant
        self._unread_since = 0.0

    # --- coming and going

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._began = self.loop.time()
        peer = transport.get_extra_info("peername")
        if self.door.enter(self, str(peer[0]) if peer else ""):
            super().connection_made(transport)
            self.flow = Flow(transport)
            return
        self.transport = transport
        transport.write(refusals.BUSY.answer)
        if self.door.wait_outside(self):
            self._leave()
        else:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.leave(self)
        self._give_back()
        stage = None if self._leaving else self._stage()
        if stage is not None:
            self.door.left[stage] += 1
        super().connection_lost(exc)
        self._disconnect()

    def _stage(self) -> str | None:
        """Return how far a request had come whose client is gone, None when there was none."""
        if self._answering():
            assert self._running is not None
            if self._arriving == IN_BODY and self._running is self.cycle:
                return "body"
            return "answer" if self._running.response_started else "waiting"
        if self._held_back is not None:
            return "body"
        if self._arriving == IN_HEAD and self._wire:
            return "head"
        return "answer" if self._unread else None

    def _answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _disconnect(self) -> None:
        """Tell whoever answers that there is nobody left to hear it. What was held back is told too: it counts."""
        self.pipeline.clear()
        for cycle in (self._running, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        if self._held_back is not None:
            self._begin(self.cycle, self._held_back)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def _turn_away(self, refusal: Refusal) -> None:
        """Refuse what is arriving, say why if that has not been answered yet, and close."""
        self.door.turned_away[refusal.reason] += 1
        if self.transport.is_closing():
            return
        body = self._arriving == IN_BODY
        if self._answering() and not (body and self._running is self.cycle):
            # An earlier request is being answered: that answer is owed, and will be the last.
            assert self._running is not None
            self._running.keep_alive = False
            self._deaf = True
            self.pipeline.clear()
            return
        if not body or not self.cycle.response_started:
            self.transport.write(refusal.answer)
        self._disconnect()
        self._leave()

    def _leave(self) -> None:
        """Close our side, and listen a moment longer."""
        self._deaf = self._leaving = True
        self._began, self._wire = self.loop.time(), 0
        self._give_back()
        self.headers, self.parser = [], None  # type: ignore[assignment]
        if self.cycle is not None:
            self.cycle.body.clear()
        self.transport.write_eof()
        if self.flow is not None:
            self.flow.resume_reading()

    # --- what arrives

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._wire += len(data)
            if self._wire > limits.LINGER_BYTES:
                self.transport.pause_reading()
            return
        if self._arriving == NOTHING:
            self._arriving, self._wire = IN_HEAD, 0
            self._looked_at = -limits.PROGRESS  # the first look at a request finds it new
            if self.cycle is not None:
                self._began = self.loop.time()
        self._wire += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # we speak nothing else, and what follows may be that
            self._deaf = True
        except httptools.HttpParserError as error:
            why = error.__context__
            self._turn_away(why.refusal if isinstance(why, Refused) else refusals.MALFORMED)
            return
        if self._arriving != NOTHING or self.pipeline:
            refusal = self._in_pieces(len(data))
            if refusal is not None:
                self._turn_away(refusal)

    def _in_pieces(self, read: int) -> Refusal | None:
        """See to a request that has not arrived whole; `read` bytes came just now. Returns why to refuse it, if so."""
        if read > limits.QUEUED_BYTES and (self.pipeline or not self._wire):
            return refusals.PIPELINED
        if self._arriving == NOTHING:
            return None
        if self._arriving == IN_HEAD:
            if self._wire > HEAD:
                return refusals.LARGE_HEAD
            return self._lend(self._wire + limits.FIELD_COST * len(self.headers or ()))
        if self._wire > HEAD + limits.PADDING + limits.PADDING_SHARE * self._payload:
            return refusals.PADDED
        if self._payload > limits.DRAINED and self.cycle.response_complete:
            return refusals.LARGE_REST
        if not self._body_began:
            self._body_began = self.loop.time()
            self._head_cost = head_size(self.url, self.headers) + limits.FIELD_COST * len(self.headers)
            if self._held_back is not None:
                self.cycle.message_event = NOBODY_LISTENS
        begins = self._held_back is not None and self._is_to_begin()
        begun = limits.BEGUN_COST if begins or self._held_back is None else 0
        # What has been answered already is dropped as it comes.
        refusal = self._lend(self._head_cost + begun + (0 if self.cycle.response_started else self._payload))
        if refusal is None and begins:
            assert self._held_back is not None
            self._begin(self.cycle, self._held_back)
        return refusal

    def _lend(self, size: int) -> Refusal | None:
        """Borrow what a request takes up by now beyond what is free. Returns why to refuse it, if so."""
        had, self._lent = self._lent, max(self._lent, size - limits.FREE)
        return None if self._lent == had or self.door.room.lend(self._lent - had) else refusals.NO_ROOM

    def _give_back(self) -> None:
        self.door.room.give_back(self._lent)
        self._lent = 0

    def _is_to_begin(self) -> bool:
        """Whether the application is to see a request of whose body there is only a part."""
        return len(self.cycle.body) > limits.HELD_BACK or announced(self.headers) > self.door.largest

    # --- callbacks of the parser

    def on_message_begin(self) -> None:
        self._arriving = IN_HEAD
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._arriving == IN_BODY:
            return  # a trailer: nobody asked for it, and it must not pass for a header
        if len(self.headers) >= FIELDS:
            raise Refused(refusals.LARGE_HEAD)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._wire > HEAD and head_size(self.url, self.headers) > HEAD:
            raise Refused(refusals.LARGE_HEAD)
        if len(self.pipeline) >= limits.QUEUED:
            raise Refused(refusals.PIPELINED)
        if self.cycle is not None and not self.cycle.response_complete:
            self.pipeline = self.pipeline or deque()  # this one will wait in it
        if self.expect_100_continue and self.door.room.short:
            raise Refused(refusals.NO_ROOM)  # it would be begun before its body has come
        super().on_headers_complete()
        self._arriving, self._payload, self._body_began = IN_BODY, 0, 0.0

    def on_body(self, body: bytes) -> None:
        self._payload += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving, self._wire = NOTHING, 0
        super().on_message_complete()
        if self._held_back is not None:
            self._begin(self.cycle, self._held_back)
        if self._lent:
            self._give_back()

    # --- what is answered

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # Whoever asks first whether to send the body at all is told by the application, which may well say no.
        if cycle.more_body and not cycle.waiting_for_100_continue:
            self._held_back = app
        else:
            self._begin(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._held_back = None
        if cycle.message_event is NOBODY_LISTENS:
            cycle.message_event = asyncio.Event()
            cycle.message_event.set()
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        # In place of uvicorn's, which starts a timer for each answer; the door looks instead.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._rested = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def resume_writing(self) -> None:
        self._unread = 0  # the client has taken nearly everything, whatever there is by the next look
        super().resume_writing()

    # --- what takes too long

    def look(self, now: float) -> None:
        """Close the connection if it has taken too long; `now` is the event loop's clock."""
        if self._does_not_read(now):
            self.door.turned_away[refusals.NOT_READ] += 1
            self.transport.abort()
        elif self._leaving:
            if now - self._began > limits.LINGER:
                self.transport.abort()
        elif self.transport.is_closing() or self.pipeline:
            return
        elif self._arriving == IN_BODY:
            if now - max(self._body_began or self._began, self._rested) > self.door.body_within:
                self._too_late()
            elif self._makes_no_progress() and self.door.room.short:
                self._turn_away(refusals.NO_ROOM)
        elif not self._answering():
            self._look_at_the_waiting(now)

    def _look_at_the_waiting(self, now: float) -> None:
        """See to one that has no request under way."""
        waits = now - max(self._began, self._rested)
        if self._arriving == IN_HEAD:
            if waits > self.door.head_within:
                self._turn_away(refusals.SLOW_HEAD)
            elif self._makes_no_progress() and self.door.room.short:
                self._turn_away(refusals.NO_ROOM)
        elif self._running is None:
            if waits > self.door.head_within:
                self.door.turned_away[refusals.SILENT] += 1
                self.transport.close()
        elif waits > self.door.idle_within:
            self.transport.close()

    def _makes_no_progress(self) -> bool:
        """Whether it has borrowed, and sent next to nothing since the last look."""
        come, self._looked_at = self._wire - self._looked_at, self._wire
        return self._lent > 0 and come < limits.PROGRESS

    def _too_late(self) -> None:
        """End a request whose body has not arrived in time."""
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.scope["state"][LATE] = len(cycle.body)
        self._turn_away(refusals.SLOW_BODY)

    def _does_not_read(self, now: float) -> bool:
        """Whether answers lie here that the client has taken nothing of for too long."""
        size = self.transport.get_write_buffer_size()
        if size == 0 or not self._unread or size <= self._unread - limits.READ_STEP:
            self._unread, self._unread_since = size, now
        return size > 0 and now - self._unread_since > self.door.read_within


def protocol_of(door: Door) -> type[Protocol]:
    """Return the protocol of the connections that come in by a door."""
    return type("Protocol", (Protocol,), {"door": door, "__slots__": ()})
