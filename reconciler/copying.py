"""Copying one file to this machine, going on where an earlier try was cut off."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from receiver.providers.base import UpstreamBusy
from reconciler.transport import Downloads, Stream

_GATHER = 2**20  # bytes written at once
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Refused(Exception):
    """The file's server answered, and not with the file."""

    def __init__(self, status: int, said: bytes) -> None:
        super().__init__(f"the file's server answered {status}")
        self.status = status
        self.said = said


class TooLarge(Exception):
    """The file is larger than what is copied."""


class Packed(Exception):
    """The server packed the file although it was asked for as it is: its bytes would not be the file's."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole file on this machine."""

    file: Path
    size: int
    sha256: str
    type: str


class Unfinished:
    """What is there of a file already. Use as `with`; nobody else writes to it meanwhile.

    A file's name ends in the fence of the claim it is written for. One that an earlier claim left is taken over, unless
    its writer still holds it: that may be a frozen process that will be thawed.
    """

    def __init__(self, folder: Path, name: str, fence: int) -> None:
        self._folder = folder
        self._name = name
        self.file = folder / f"{name}.{fence}.part"
        self._opened: IO[bytes] | None = None

    def __enter__(self) -> Unfinished:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in sorted(self._folder.glob(f"{self._name}.*.part"), key=lambda one: one.stat().st_size):
            opened = left.open("r+b")
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                opened.close()
                continue
            if self._opened is not None:
                self._opened.close()  # the shorter one; it is replaced
            left.replace(self.file)
            if left.with_suffix(".tag").exists():  # after the file: one without the other is begun anew
                left.with_suffix(".tag").replace(self._tag)
            self._opened = opened
        if self._opened is None:
            self._opened = self.file.open("w+b")
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def _tag(self) -> Path:
        return self.file.with_suffix(".tag")

    def known(self) -> Mapping[str, Any]:
        """Return what the server said of the file that this is a part of; nothing when that cannot be relied on."""
        try:
            said = json.loads(self._tag.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        # After a power failure a file's end may be other bytes than those written.
        return said if isinstance(said, dict) and said.get("boot") == _boot() else {}

    def note(self, etag: str | None, size: int | None, content_type: str) -> None:
        """Keep what the server says of the file, before the first byte of it is written."""
        said = {"etag": etag, "size": size, "type": content_type, "boot": _boot()}
        beside = self._tag.with_suffix(".new")
        beside.write_text(json.dumps(said), encoding="utf-8")
        beside.replace(self._tag)

    def hashed(self, most: int) -> tuple[Any, int]:
        """Return the hash of what is there, to go on with, and its length; what is too long is not looked at."""
        assert self._opened is not None
        digest, length = sha256(), 0
        self._opened.seek(0)
        while length <= most and (piece := self._opened.read(_GATHER)):
            digest.update(piece)
            length += len(piece)
        return digest, length

    def begin_anew(self) -> None:
        """Throw away what is there."""
        assert self._opened is not None
        self._opened.truncate(0)
        self._opened.seek(0)

    def add(self, digest: Any, piece: bytes) -> None:
        """Write at the end and hash on."""
        assert self._opened is not None
        self._opened.write(piece)
        self._opened.flush()
        digest.update(piece)

    def forget(self) -> None:
        """Remove what is there: it is at its place, or of no use."""
        self.file.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {os.getpid()}"  # elsewhere than on Linux nothing outlives its process


async def copy(downloads: Downloads, url: str, part: Unfinished, *, largest: int, within: timedelta) -> Whole:
    """Bring a file here, from where an earlier try left off if the server says that it is still the same file.

    Raises Refused, TooLarge, Packed, UpstreamBusy when it broke off (what came stays), ForbiddenAddress, and OSError
    when it cannot be written here.
    """
    known = await asyncio.to_thread(part.known)
    digest, length = await asyncio.to_thread(part.hashed, largest)
    etag = known.get("etag")
    if length and length == known.get("size"):
        return Whole(part.file, length, digest.hexdigest(), str(known.get("type")))
    headers = {}
    if length and etag:
        headers = {"Range": f"bytes={length}-", "If-Range": str(etag)}
    async with downloads.get(url, headers, within=within) as stream:
        if stream.status == 416 and headers:
            await asyncio.to_thread(part.begin_anew)
            raise UpstreamBusy("the file's server has less of it than was here; it is copied anew")
        if stream.status not in (200, 206):
            raise Refused(stream.status, await _start_of(stream))
        if stream.headers.get("content-encoding", "identity").lower() != "identity":
            raise Packed("the file's server packs the file although it is asked for as it is")
        start, size = _span(stream)
        if start != (length if headers else 0) or (stream.status == 206 and not headers):
            start = -1 if stream.status == 206 else 0
        if start < 0:
            await asyncio.to_thread(part.begin_anew)
            raise UpstreamBusy("the file's server answered with another part than was asked for")
        if size is not None and size > largest:
            raise TooLarge(f"it has {size} bytes, and at most {largest} are copied")
        content_type = stream.headers.get("content-type", "application/octet-stream")[:200]
        if start == 0:
            digest, length = sha256(), 0
            await asyncio.to_thread(part.begin_anew)
            await asyncio.to_thread(part.note, _strong(stream.headers.get("etag")), size, content_type)
        else:
            content_type = str(known.get("type") or content_type)
        length = await _take(stream, part, digest, length, largest)
    if size is not None and length != size:
        raise UpstreamBusy(f"the file broke off after {length} of {size} bytes")
    return Whole(part.file, length, digest.hexdigest(), content_type)


async def _take(stream: Stream, part: Unfinished, digest: Any, length: int, largest: int) -> int:
    gathered = bytearray()

    async def put() -> None:
        piece = bytes(gathered)
        gathered.clear()
        await asyncio.to_thread(part.add, digest, piece)

    try:
        async for chunk in stream.chunks:
            length += len(chunk)
            if length > largest:
                raise TooLarge(f"it has more than {largest} bytes, and no more are copied")
            gathered += chunk
            if len(gathered) >= _GATHER:
                await put()
    finally:
        # Also of what broke off: it is not asked for again. A cancelled copy has no time for that.
        if gathered and not _cancelled():
            await put()
    return length


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _span(stream: Stream) -> tuple[int, int | None]:
    """Return where in the file an answer begins, and how long the file is if that is said."""
    if stream.status == 200:
        said = stream.headers.get("content-length", "")
        return 0, int(said) if said.isascii() and said.isdigit() and len(said) < 16 else None
    unit, _, rest = stream.headers.get("content-range", "").partition(" ")
    span, _, size = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not (first.isascii() and first.isdigit() and len(first) < 16):
        return -1, None
    return int(first), int(size) if size.isascii() and size.isdigit() and len(size) < 16 else None


def _strong(etag: str | None) -> str | None:
    """A weak validator says nothing about bytes (RFC 9110, 8.8.1)."""
    return etag if etag and etag.startswith('"') and len(etag) < 1000 and etag.isascii() else None


async def _start_of(stream: Stream) -> bytes:
    said = bytearray()
    try:
        async for chunk in stream.chunks:
            said += chunk
            if len(said) >= 4096:
                break
    except UpstreamBusy:
        pass  # its status says enough
    return bytes(said[:4096])
