"""Playing histories into a real ledger as the receiver and the reconciler do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from receiver.config import Config, load_config
from receiver.ledger import checks
from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.entries import Answer, Entry, Look, Result
from receiver.ledger.records import EvidenceKind, Reading
from receiver.providers.base import Inbound
from receiver.reading import delivery_entry
from receiver.redaction import Redactor
from receiver.replaying import Difference, Replay
from receiver.tracking import track_entry
from tests.ledger.histories import Arrival, at
from tests.replay.told import Told, body_of

SOURCE = "civ"
TOKEN = "hook-token-of-the-replay"


@dataclass
class Stage:
    """One source, `civ`, of the upstream that tells readings."""

    database: Database
    config: Config
    told: Told

    @classmethod
    def made(cls, database: Database, url: str, folder: Path, told: Told | None = None, trust: str = "token") -> Stage:
        told = told or Told()
        proof = f'hook_token = "{TOKEN}"' if trust == "token" else f'trust = "{trust}"'
        if trust == "signed":
            proof = 'signing_secrets = ["whsec_c2VjcmV0LW9mLXRoZS1yZXBsYXk="]'
        file = folder / "replay.toml"
        file.write_text(
            f'[database]\nurl = "{url}"\n[sources.{SOURCE}]\nprovider = "told"\n{proof}\n', encoding="utf-8"
        )
        return cls(database, load_config(file, {}, providers={"told": told}), told)

    def delivery(self, reading: Reading, second: float, mark: str = "", ref: str | None = None) -> Entry:
        """A believed delivery, as the receiver makes an entry of it."""
        return self.received(body_of(reading, mark), second, ref)

    def received(self, body: bytes, second: float, ref: str | None = None) -> Entry:
        query = {} if ref is None else {"ref": ref}
        inbound = Inbound({}, query, body, at(second))
        return delivery_entry(SOURCE, self.told, self.config.account(SOURCE), self.config.policy(SOURCE), inbound, {})

    async def put(self, *entries: Entry, now: float) -> list[Result]:
        async with self.database.write() as connection:
            return await apply(connection, entries, at(now))

    async def track(self, second: float, **told: Any) -> Result:
        entry = track_entry({"source": SOURCE, **told}, self.config, Redactor(()), at(second), {"told": self.told})
        return (await self.put(entry, now=second))[0]

    async def look(
        self,
        workflow_id: str,
        second: float,
        reading: Reading | None,
        *,
        status: int = 200,
        took: float = 0.0,
        held: bool = False,
    ) -> Result:
        """A look sent at a second, claimed and answered as the reconciler does; None is an error's answer."""
        async with self.database.write() as connection:
            await checks.want(connection, SOURCE, workflow_id, None, at(second))
            (claim,) = await checks.claim(
                connection, at(second), holder="test", lease=timedelta(seconds=90), limits={SOURCE: 1},
                ids=[workflow_id],
            )  # fmt: skip
            body = b"{}" if reading is None else body_of(reading)
            answer = {200: Answer.SHOWN, 404: Answer.GONE, 403: Answer.REFUSED}.get(status, Answer.BUSY)
            entry = Entry(
                SOURCE, self.config.policy(SOURCE), EvidenceKind.FETCH, at(second), workflow_id, reading, body=body,
                body_sha256=sha256(body).hexdigest(), http_status=status, http_date=at(second).replace(microsecond=0),
                look=Look(claim.fence, Answer.HELD if held else answer),
            )  # fmt: skip
            return (await apply(connection, [entry], at(second + took)))[0]

    async def play(self, arrivals: list[Arrival], workflow_id: str, cuts: list[int]) -> None:
        """Play arrivals in batches; looks are transactions of their own, as they are."""
        waiting: list[Entry] = []
        for place, arrival in enumerate(arrivals):
            reading = replace(arrival.reading, workflow_id=workflow_id)
            if arrival.look:
                await self._flush(waiting)
                await self.look(workflow_id, arrival.second, reading)
                continue
            waiting.append(self.delivery(reading, arrival.second, arrival.name))
            if place in cuts:
                await self._flush(waiting)
        await self._flush(waiting)

    async def _flush(self, waiting: list[Entry]) -> None:
        if waiting:
            await self.put(*waiting, now=(waiting[-1].at - at(0)).total_seconds())
            waiting.clear()

    def replay(self, providers: Mapping[str, Any] | None = None, **more: Any) -> Replay:
        return Replay(self.config, self.database, providers=providers or {"told": self.told}, **more)

    async def differences(self, told: Told | None = None, ids: list[str] | None = None) -> list[Difference]:
        replay = self.replay({"told": told or self.told}, ids=ids)
        found = [one async for one in replay.differences()]
        assert not replay.report.not_replayable, replay.report.not_replayable
        return found
