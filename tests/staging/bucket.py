"""A store that speaks S3, in a process of its own: moto's server, on loopback."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "access-key-of-the-tests", "secret-key-of-the-tests"


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the lines of a configuration that has copies kept there."""

    endpoint: str
    name: str

    @property
    def lines(self) -> tuple[str, ...]:
        return (
            "[collect.s3]", f'bucket = "{self.name}"', f'endpoint = "{self.endpoint}"', 'prefix = "some/where"',
            f'access_key = "{ACCESS_KEY}"', f'secret_key = "{SECRET_KEY}"',
        )  # fmt: skip

    def ask(self, method: str, path: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """One plain request below the bucket's name."""
        connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"), timeout=10)
        try:
            connection.request(method, f"/{self.name}{path}", body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def names(self) -> list[str]:
        """The names of all that lies in it."""
        listed = self.ask("GET", "?list-type=2")[1].decode()
        return [part.partition("</Key>")[0] for part in listed.split("<Key>")[1:]]


@contextmanager
def store_running(folder: Path) -> Iterator[str]:
    """Run a store while inside; its address. Nothing in it outlives it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with (folder / "store.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                if process.poll() is not None:
                    raise RuntimeError((folder / "store.log").read_text())
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)
