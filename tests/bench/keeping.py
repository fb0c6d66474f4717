"""A large ledger to measure on, loaded now or by an earlier run that kept it: loading is what takes the time."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from receiver.ledger import migrate
from tests.bench import loading
from tests.bench.processes import Postgres, hookledger, run_sql, write_config

# Sources that the loaded workflows are of, beside Civitai; none of what is loaded is to be overdue.
CONFIG = "".join(
    ['deadline = "60d"\n']
    + [
        f'\n[sources.{name}]\nprovider = "{provider}"\napi_key = "key-of-{name}"\nhook_token = "hook-token-of-{name}"\n'
        for name, provider in (
            ("archive", "civitai"),
            ("beeble", "beeble"),
            ("evolink", "evolink"),
        )
    ]
)


def large(store: str, workflows: int, folder: Path, server: Postgres | None) -> tuple[str, Path]:
    """Return (the URL of a ledger with so many workflows, its configuration), both in `folder`.

    What is there already by the name of this size and schema is taken as it is, with what runs have added to it. A load
    that did not come to its end leaves nothing of that name.
    """
    name = f"ledger_{workflows}_{migrate.head()}"
    if store == "sqlite":
        file = folder / f"{name}.db"
        url = f"sqlite:///{file}"
        if not file.exists():
            part = folder / f"{name}-part.db"
            for ending in ("", "-wal", "-shm"):
                Path(f"{part}{ending}").unlink(missing_ok=True)
            _load(f"sqlite:///{part}", folder, name, workflows)
            part.rename(file)
        return url, write_config(folder, name, url, CONFIG)
    assert server is not None
    if name not in server.databases():
        part_name = f"{name}_part"
        asyncio.run(run_sql(server.url, f"DROP DATABASE IF EXISTS {part_name}"))
        _load(server.database(part_name), folder, name, workflows)
        asyncio.run(run_sql(server.url, f"ALTER DATABASE {part_name} RENAME TO {name}"))
    url = server.named(name)
    return url, write_config(folder, name, url, CONFIG)


def _load(url: str, folder: Path, name: str, workflows: int) -> None:
    config = write_config(folder, f"{name}-part", url, CONFIG)
    subprocess.run(hookledger(config, "db", "upgrade"), check=True, stdout=subprocess.DEVNULL)
    loading.load(url, workflows)
