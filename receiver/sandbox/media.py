"""Real bytes for made-up files, each with its blob's id inside, and the signature that opens them for a while."""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from datetime import UTC, datetime, timedelta

from receiver.sandbox.clock import milli_stamp

CONTENT_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mp3": "audio/mpeg",
    "zip": "application/zip",
}


def content_type(blob_id: str) -> str:
    """By the id's ending."""
    return CONTENT_TYPES.get(blob_id.rpartition(".")[2], "application/octet-stream")


def content(blob_id: str) -> bytes:
    """A valid 1x1 PNG, 8x8 JPEG or else an empty MP4 that names its blob, so that a mix-up is seen."""
    ending, name = blob_id.rpartition(".")[2], blob_id.encode()
    if ending == "png":
        return _png(name)
    if ending in ("jpeg", "jpg"):
        return _jpeg(name)
    return _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + _box(b"free", name) + _box(b"mdat", b"")


def _png(name: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\0\x80"))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"tEXt", b"Comment\0" + name) + pixel + chunk(b"IEND", b"")


def _jpeg(name: bytes) -> bytes:
    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    one_code = bytes([1] + [0] * 15) + b"\0"  # a Huffman table with a single one-bit code, for 0
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xFE, name),
            segment(0xDB, b"\0" + b"\1" * 64),
            segment(0xC0, struct.pack(">BHHBBBB", 8, 8, 8, 1, 1, 0x11, 0)),
            segment(0xC4, b"\x00" + one_code),
            segment(0xC4, b"\x10" + one_code),
            segment(0xDA, b"\1\1\0\0\x3f\0"),
            b"\x3f\xff\xd9",
        )
    )


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


class UrlSigner:
    """Signs `…?sig=…&exp=…`, `exp` an ISO instant with milliseconds, as Civitai does (UPSTREAMS §1.8, real sample);
    no other upstream documents its parameters."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def query(self, blob_id: str, now: datetime, ttl: float) -> tuple[str, datetime]:
        """The query that opens this blob for `ttl` seconds, and when it ends."""
        until = now.astimezone(UTC) + timedelta(seconds=ttl)
        until = until.replace(microsecond=until.microsecond // 1000 * 1000)
        exp = milli_stamp(until)
        return f"sig={self._sign(blob_id, exp)}&exp={exp}", until

    def opens(self, blob_id: str, sig: str, exp: str, now: datetime) -> bool:
        """Whether the pair was signed here for this blob and its time is not over."""
        if not hmac.compare_digest(sig.encode(), self._sign(blob_id, exp).encode()):
            return False
        return now < datetime.fromisoformat(exp)

    def _sign(self, blob_id: str, exp: str) -> str:
        return hmac.new(self._secret, f"{blob_id}|{exp}".encode(), hashlib.sha256).hexdigest()
