"""What was poison a moment ago: kept out of the batches of others for a while, so that it spoils each only once."""

from __future__ import annotations

from collections import OrderedDict

from receiver.ledger.entries import Entry

SUSPECTED_FOR = 60.0  # seconds since it was poison last
MOST = 1000  # names remembered; with more, nothing in particular is wrong with any of them

_Name = tuple[str, str, str]


class Suspects:
    """The workflows, and the deliveries of none, that the ledger could not take lately. Instants are monotonic."""

    def __init__(self) -> None:
        self._since: OrderedDict[_Name, float] = OrderedDict()  # the longest suspected first

    def __len__(self) -> int:
        return len(self._since)

    def add(self, entry: Entry, now: float) -> None:
        """Suspect whatever is of the same workflow as an entry that was poison at `now`."""
        name = _name(entry)
        self._since[name] = now
        self._since.move_to_end(name)
        if len(self._since) > MOST:
            self._since.popitem(last=False)

    def holds(self, entry: Entry, now: float) -> bool:
        """Return whether an entry is better tried by itself."""
        if not self._since:
            return False
        name = _name(entry)
        since = self._since.get(name)
        if since is None:
            return False
        if now - since > SUSPECTED_FOR:
            del self._since[name]
            return False
        return True


def _name(entry: Entry) -> _Name:
    if entry.workflow_id is not None:
        return entry.source, "workflow", entry.workflow_id
    return entry.source, "delivery", entry.key or ""
