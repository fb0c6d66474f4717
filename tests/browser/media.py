"""Output files as an upstream keeps them: a picture, a sound, a film, on a server of their own."""

from __future__ import annotations

import asyncio
import io
import math
import struct
import wave
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from receiver.sandbox.media import content


def picture(width: int = 320, height: int = 240) -> bytes:
    """A PNG: dusk over hills."""

    def pixel(x: int, y: int) -> bytes:
        hill = height * (0.62 + 0.1 * math.sin(x / 40) + 0.05 * math.sin(x / 13))
        shade = y / height
        return (
            bytes((30, 44, 70))
            if y > hill
            else bytes((int(250 - 90 * shade), int(150 - 70 * shade), int(90 + 90 * shade)))
        )

    rows = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(width)) for y in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sound() -> bytes:
    """A second of a WAV: one quiet tone."""
    kept = io.BytesIO()
    with wave.open(kept, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        tone = (int(6000 * math.sin(n / 8000 * 440 * 2 * math.pi)) for n in range(8000))
        file.writeframes(b"".join(struct.pack("<h", one) for one in tone))
    return kept.getvalue()


def film() -> bytes:
    """Two seconds of an MP4, as the stand-ins have it."""
    return content("film.mp4")


FILES = {"/dusk.png": ("image/png", picture), "/tone.wav": ("audio/wav", sound), "/film.mp4": ("video/mp4", film)}


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """A server of these files; yields its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
            kind, made = FILES.get(path.partition("?")[0], ("", None))
            body = made() if made is not None else b""
            status = "200 OK" if made is not None else "404 Not Found"
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
