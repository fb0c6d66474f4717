"""What every request may use; one object, put together once at the start, on `app.state.site`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from receiver.config import Config
from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.redaction import Redactor
from receiver.shelves import Shelf
from receiver.web.door import Door
from receiver.web.liveness import Beats
from receiver.web.watch import Watch


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of a running receiver. `stopping` is set when it is to end: whoever waits for long should look."""

    config: Config
    database: Database
    intake: Intake
    redactor: Redactor
    door: Door
    watch: Watch
    shelf: Shelf | None = None  # where copies of outputs lie
    beats: Beats = field(default_factory=Beats)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
