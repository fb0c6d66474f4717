"""The memory of requests that have not arrived whole: a little is free for each, the rest they share.

So whoever stalls costs little, however much was sent before: while much is lent, those that make no progress have to
go. One client with a large body on a slow line is served as ever.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable

from receiver.web import limits


class Room:
    """What is lent to all connections of a server together."""

    __slots__ = ("_most", "_peak", "_return_memory", "lent")

    def __init__(self, largest: int) -> None:
        """Prepare for bodies of up to `largest` bytes, of which a few must be able to arrive at once."""
        self.lent = 0  # bytes
        self._peak = 0  # the most that was lent since memory was returned
        self._most = max(limits.ROOM, limits.LARGEST_AT_ONCE * largest)
        self._return_memory = _trimmer()

    def lend(self, more: int) -> bool:
        """Lend so many bytes more; return whether there was room for them. They are lent either way, as they are in
        memory already: whoever is told that there is no room gives them back by going."""
        self.lent += more
        return self.lent <= self._most

    def give_back(self, lent: int) -> None:
        """Take back so many bytes."""
        self.lent -= lent

    @property
    def short(self) -> bool:
        """Whether those that make no progress have to go."""
        return self.lent > limits.ROOM_FOR_STALLED

    def settle(self) -> None:
        """Give the system back what much less is lent of than before: the C library would keep it, and be as large as
        it ever was. Takes some milliseconds, so it is done after a flood and not after each request."""
        self._peak = max(self._peak, self.lent)
        if self._peak - self.lent >= limits.WORTH_RETURNING:
            self._peak = self.lent
            self._return_memory()


def _trimmer() -> Callable[[], object]:
    """Return what gives free memory back to the system; only glibc keeps it, and only there is something to call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: None) if trim is None else (lambda: trim(0))


def head_size(url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return about how many bytes a head had on the wire."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return how long a body is said to be; 0 when that is not said."""
    length = next((value for name, value in headers if name == b"content-length"), b"")
    return int(length) if length.isdigit() else 0
