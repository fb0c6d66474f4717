"""Unpacking what an upstream sent packed, never to more than is wanted: a small answer may unpack to gigabytes."""

from __future__ import annotations

import zlib

from receiver.providers.base import Unreadable

# What an upstream is told that we read. The other codings have no decoder here whose output can be bounded.
ACCEPTED = "gzip, deflate"

_GZIP = 16 + zlib.MAX_WBITS


class Unpacker:
    """Unpacks one body piece by piece, to `largest` bytes at most. `coding` is its Content-Encoding header.

    Raises Unreadable for a coding nobody asked for, for what is broken, and for more than `largest` bytes.
    """

    def __init__(self, coding: str | None, largest: int) -> None:
        self._coding = (coding or "identity").strip().lower()
        if self._coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise Unreadable(f"upstream packed its answer as {self._coding[:40]!r}, which nobody asked for")
        self._left = largest
        self._largest = largest
        self._inner: zlib._Decompress | None = None

    def feed(self, piece: bytes) -> bytes:
        """Return what a piece unpacks to."""
        if self._coding in ("identity", ""):
            return self._counted(piece)
        found = bytearray()
        while piece:
            if self._inner is None:
                self._inner = zlib.decompressobj(self._window(piece))
            try:
                found += self._counted(self._inner.decompress(piece, self._left + 1))
            except zlib.error:
                raise Unreadable("upstream's answer cannot be unpacked") from None
            if not self._inner.eof:
                break
            # Members may follow one another (RFC 1952); zlib's own format has but one.
            piece = self._inner.unused_data if self._coding != "deflate" else b""
            self._inner = None if piece else self._inner
        return bytes(found)

    def finish(self) -> None:
        """Return when nothing is missing."""
        if self._inner is not None and not self._inner.eof:
            raise Unreadable("upstream's answer ends in the middle of what it packed")

    def _window(self, piece: bytes) -> int:
        if self._coding != "deflate":
            return _GZIP
        # Servers have always sent both zlib's format and the bare stream under this name; the first byte tells.
        return zlib.MAX_WBITS if piece[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise Unreadable(f"upstream answered with more than {self._largest} bytes")
        return piece
