"""How often somebody may try to log in: a few times a minute from one address. No clock and no I/O of its own."""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address

MOST, WITHIN = 10, 60.0  # failed tries, seconds
_ADDRESSES = 4096  # remembered; of more, those that tried longest ago are forgotten


class Tries:
    """Counts failed tries by address, in this process."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Return for how many seconds an address has to wait, 0 when it may try; `now` is a steady clock's."""
        times = self._failed.get(_network(address))
        if times is None:
            return 0.0
        while times and times[0] <= now - WITHIN:
            times.popleft()
        return times[0] + WITHIN - now if len(times) >= MOST else 0.0

    def failed(self, address: str, now: float) -> None:
        """Count a try that failed."""
        times = self._failed.setdefault(_network(address), deque(maxlen=MOST))
        times.append(now)
        self._failed.move_to_end(_network(address))
        while len(self._failed) > _ADDRESSES:
            self._failed.popitem(last=False)


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6, the /64 that one household has for itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return "?"
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return found.exploded[:19]
    return str(found)
