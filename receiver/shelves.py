"""Where copies of outputs lie: a folder, or a bucket of any store that speaks S3.

A place is a name such as `civitai/wf_1/0199…-3f2a-a.png`, made here of safe characters alone, whatever upstream's ids
hold. What is at a place is whole: it gets there in one step.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from receiver.config.collecting import BucketConfig, CollectConfig

PIECE = 256 * 1024  # bytes read at once
_UNFINISHED = ".unfinished"


class ShelfTrouble(Exception):
    """Copies cannot be put there or had from there just now; the message is a sentence without secrets."""


class Shelf(Protocol):
    """A place for copies. Everything raises ShelfTrouble when the folder or the store does not do its part."""

    @property
    def unfinished(self) -> Path:
        """The folder on this machine where copies lie until they are whole."""

    async def keep(self, file: Path, place: str, content_type: str) -> None:
        """Put a whole file there; afterwards it is at its place, or nothing is. The file may be moved."""

    async def size(self, place: str) -> int | None:
        """Return how many bytes lie there, None when nothing does."""

    def read(self, place: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `end`, exclusive."""

    async def remove(self, place: str) -> None:
        """Remove what lies there, if anything does."""


def place_of(source: str, workflow_id: str, name: str, sha256: str, blob_id: str) -> str:
    """Return where a copy is to lie. `name` is its row's; with the hash in it, other bytes never replace these."""
    return f"{source}/{_safe(workflow_id)}/{name}-{sha256[:16]}-{_safe(blob_id)}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.~-]", "_", text)[-80:].lstrip(".") or "_"


def shelf_of(config: CollectConfig) -> Shelf | None:
    """Return where copies lie, None when nowhere. Nothing is opened or made yet."""
    if config.s3 is not None:
        return BucketShelf(config.s3, config.folder)
    return FolderShelf(config.folder) if config.folder is not None else None


class FolderShelf:
    """Copies in a folder. Its own and its files' names are readable to whoever may read the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def unfinished(self) -> Path:
        """Beside the copies, so that moving one is one step."""
        return self._folder / _UNFINISHED

    async def keep(self, file: Path, place: str, content_type: str) -> None:
        """Move a file to its place: durable there before it is gone from here."""
        try:
            await asyncio.to_thread(self._move, file, self._folder / place)
        except OSError as error:
            raise ShelfTrouble(f"cannot keep copies in {self._folder}: {error.strerror}") from None

    def _move(self, file: Path, target: Path) -> None:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        for folder in (target.parent.parent, target.parent):
            folder.mkdir(mode=0o750, exist_ok=True)
        file.replace(target)
        for folder in (target.parent, target.parent.parent):
            number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(number)
            finally:
                os.close(number)

    async def size(self, place: str) -> int | None:
        """Ask the file system."""
        try:
            return (await asyncio.to_thread((self._folder / place).stat)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ShelfTrouble(f"cannot look into {self._folder}: {error.strerror}") from None

    async def read(self, place: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Read in a thread, a piece at a time."""
        try:
            with await asyncio.to_thread((self._folder / place).open, "rb") as opened:
                await asyncio.to_thread(opened.seek, start)
                while start < end:
                    piece = await asyncio.to_thread(opened.read, min(PIECE, end - start))
                    if not piece:
                        raise ShelfTrouble(f"a copy in {self._folder} is shorter than it was")
                    start += len(piece)
                    yield piece
        except OSError as error:
            raise ShelfTrouble(f"cannot read from {self._folder}: {error.strerror}") from None

    async def remove(self, place: str) -> None:
        """Delete the file, and its folder when that is empty then."""
        try:
            await asyncio.to_thread(self._remove, self._folder / place)
        except OSError as error:
            raise ShelfTrouble(f"cannot remove from {self._folder}: {error.strerror}") from None

    def _remove(self, target: Path) -> None:
        target.unlink(missing_ok=True)
        try:
            target.parent.rmdir()
        except OSError:
            return  # other copies lie there, or it is not there


def _faults() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return BaseError, OSError


def private_folder(name: str, among: Path | None = None) -> Path:
    """Return a folder of that name that is ours alone, where anybody may make folders; raises OSError.

    It is found again after a restart, so that what is unfinished is not lost. Where somebody else was there first, with
    a folder or a link, another one is made, which nobody can foresee.
    """
    among = among or Path(tempfile.gettempdir())
    path = among / name
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        seen = path.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid():
            return Path(tempfile.mkdtemp(prefix="hookledger-", dir=among))
        path.chmod(0o700)
    return path


class BucketShelf:
    """Copies in a bucket. An upload of several parts is completed only when all of it is there.

    The client is obstore, over Rust's object_store: https://developmentseed.org/obstore/latest/
    """

    def __init__(self, config: BucketConfig, folder: Path | None) -> None:
        from obstore.store import S3Store  # only who keeps copies in a bucket has it installed

        self._name, self._bucket = f"bucket {config.bucket}", config.bucket
        self._unfinished = folder
        known: dict[str, Any] = {
            "region": config.region,
            "prefix": config.prefix or None,
            # A bucket's name in the path: every store understands that, and an address needs no DNS.
            "virtual_hosted_style_request": config.endpoint is None,
            "client_options": {"timeout": "60s", "connect_timeout": "10s"},
            "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=60)},
        }
        if config.endpoint is not None:
            known["endpoint"] = config.endpoint
            known["client_options"]["allow_http"] = config.endpoint.startswith("http:")
        if config.access_key is not None and config.secret_key is not None:
            known["access_key_id"] = config.access_key.get_secret_value()
            known["secret_access_key"] = config.secret_key.get_secret_value()
        self._store = S3Store(config.bucket, **{name: value for name, value in known.items() if value is not None})

    @property
    def unfinished(self) -> Path:
        """The configured folder, else a private one among this machine's temporary ones."""
        if self._unfinished is None:
            self._unfinished = private_folder(f"hookledger-{os.getuid()}-{self._bucket}")
        return self._unfinished

    async def keep(self, file: Path, place: str, content_type: str) -> None:
        """Upload a file, in parts when it is large."""
        import obstore

        try:
            await obstore.put_async(self._store, place, file, attributes={"Content-Type": content_type})
        except _faults() as error:
            raise self._trouble("keep copies in", error) from None
        await asyncio.to_thread(file.unlink, missing_ok=True)

    async def size(self, place: str) -> int | None:
        """Ask the store."""
        import obstore

        try:
            return int((await obstore.head_async(self._store, place))["size"])
        except FileNotFoundError:
            return None
        except _faults() as error:
            raise self._trouble("look into", error) from None

    async def read(self, place: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Ask for a range, and pass it on as it comes."""
        import obstore

        if start >= end:
            return
        try:
            got = await obstore.get_async(self._store, place, options={"range": (start, end)})
            async for piece in got.stream(min_chunk_size=PIECE):
                yield bytes(piece)
        except _faults() as error:
            raise self._trouble("read from", error) from None

    async def remove(self, place: str) -> None:
        """Delete the object."""
        import obstore

        try:
            await obstore.delete_async(self._store, place)
        except FileNotFoundError:
            return
        except _faults() as error:
            raise self._trouble("remove from", error) from None

    def _trouble(self, doing: str, error: Exception) -> ShelfTrouble:
        # What the library says holds addresses and, of an answer that nobody foresaw, its body: the kind is enough.
        return ShelfTrouble(f"cannot {doing} {self._name}: {type(error).__name__}")
