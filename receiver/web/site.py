"""What every request may use; one object, put together once at the start, on `app.state.site`."""

from __future__ import annotations

from dataclasses import dataclass, field

from receiver.config import Config
from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.redaction import Redactor
from receiver.web.liveness import Beats


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of a running receiver."""

    config: Config
    database: Database
    intake: Intake
    redactor: Redactor
    beats: Beats = field(default_factory=Beats)
