"""Real bytes for made-up files, each with its blob's id inside, and the signature that opens them for a while."""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from datetime import UTC, datetime, timedelta

from receiver.sandbox.clock import milli_stamp
from receiver.sandbox.samples import FILM, PICTURE

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


_SIDE = 64  # points, of a PNG


def content_type(blob_id: str) -> str:
    """By the id's ending."""
    return CONTENT_TYPES.get(blob_id.rpartition(".")[2], "application/octet-stream")


def content(blob_id: str) -> bytes:
    """A small PNG, JPEG or else a short MP4 that names its blob, so that a mix-up is seen."""
    ending, name = blob_id.rpartition(".")[2], blob_id.encode()
    if ending == "png":
        return _png(name)
    if ending in ("jpeg", "jpg"):
        return PICTURE[:2] + b"\xff\xfe" + struct.pack(">H", len(name) + 2) + name + PICTURE[2:]
    return FILM + _box(b"free", name)


def _png(name: bytes) -> bytes:
    """An evening sky whose colours follow from the name."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    drawn = hashlib.sha256(name).digest()
    above, below = [120 + one % 110 for one in drawn[:3]], [40 + one % 110 for one in drawn[3:6]]
    rows = (
        b"\0" + bytes(a + (b - a) * y // _SIDE for a, b in zip(above, below, strict=True)) * _SIDE for y in range(_SIDE)
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"tEXt", b"Comment\0" + name) + pixels + chunk(b"IEND", b"")


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
