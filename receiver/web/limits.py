"""What a client may cost that is nobody's to configure: sizes of heads, patience, and how much of it when."""

from __future__ import annotations

# One request.
HEAD = 32 * 2**10  # bytes of the request line and the headers
FIELDS = 100  # headers of one request
HELD_BACK = 16 * 2**10  # bytes of a body; until it is larger, or whole, the request waits outside the application
QUEUED = 16  # pipelined requests waiting behind the one under way, and
QUEUED_BYTES = 64 * 2**10  # what one read may bring of them
PADDING = 64 * 2**10  # bytes that are neither head nor body (sizes of chunks, trailers), and
PADDING_SHARE = 4  # how many bytes on the wire one of the body may take beyond that
DRAINED = 2**20  # bytes of a body that are still read when it has been answered already
READ_WITHIN = 20.0  # seconds a client has for taking more of its answers: all of them, or another
READ_STEP = 64 * 2**10  # bytes
CLOSING = 2.5  # seconds for what has not arrived whole, and for whoever takes no answer, once the server is to end
LINGER = 1.0  # seconds in which a client that was turned away may read why, and
LINGER_BYTES = 2**20  # what is still read from it: a connection closed with unread data is reset, the answer lost

# What requests take up in memory that have not arrived whole.
FREE = 3 * 2**10  # bytes that each may; what is beyond that is lent out of a room they share:
ROOM = 64 * 2**20  # bytes, or enough for LARGEST_AT_ONCE; beyond it nobody is lent more
LARGEST_AT_ONCE = 4  # bodies as large as `server.max_body` allows
ROOM_FOR_STALLED = 16 * 2**20  # bytes; beyond it whoever makes no progress has to go
PROGRESS = 16 * 2**10  # bytes from one look to the next
WORTH_RETURNING = 8 * 2**20  # bytes less than before: then memory is given back to the system
FIELD_COST = 130  # bytes that a header takes up beside its text
BEGUN_COST = 8 * 2**10  # bytes that a request takes up inside the application

# All connections together.
EVERY = 0.5  # seconds between two looks at all connections
AT_ONCE = 1000  # connections looked at before others get a turn
CROWDED = 0.75  # of all places taken: from here on nobody may take their time
HURRY = 4  # what the time for heads is divided by then
# Longer than the minute most proxies keep an idle connection: whoever closes first must not be us, or a delivery may
# be on its way into a closed connection.
KEEP_ALIVE = 75.0  # seconds, and
KEEP_ALIVE_CROWDED = 5.0
LOBBY = 256  # refused connections that are kept for a moment, so that their answer is not lost to a reset
