"""Makes the peer's tables and becomes gunicorn."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from pathlib import Path

from tests.bench.peers.django_peer import URL, configure

THREADS = 4  # per process; with more, Python's lock is all they share


def _create(url: str) -> None:
    configure(url)
    from django.apps import apps
    from django.db import connection

    with connection.schema_editor() as editor:
        for model in apps.get_app_config("django_peer").get_models():
            editor.create_model(model)
    connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    url = tomllib.loads(given.config.read_text())["database"]["url"]
    os.environ[URL] = url
    _create(url)
    gunicorn = [sys.executable, "-m", "gunicorn", "tests.bench.peers.django_peer:app()", "--log-level", "warning"]
    threads = ["--worker-class", "gthread", "--workers", str(given.workers), "--threads", str(THREADS)]
    os.execv(sys.executable, [*gunicorn, *threads, "--bind", f"127.0.0.1:{given.port}", "--keep-alive", "75"])
