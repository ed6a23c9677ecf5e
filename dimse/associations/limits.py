"""Numbers of concurrent associations: in total, and for each address."""

import threading
from collections import Counter
from ipaddress import ip_network

from dimse.associations.errors import Rejected

_MAX_PENDING_PER_ADDRESS = 20
"""Connections without an association yet."""


class AssociationCounts:
    """Counts connections and associations of this process, so that no peer takes the places of others.

    Connections without an association are counted by themselves: they do not use up the number of associations.
    """

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most, self._most_per_address = most, most_per_address
        self._pending: Counter[str] = Counter()
        self._associated: Counter[str] = Counter()
        self._lock = threading.Lock()

    def connect(self, address: str) -> bool:
        """Count a new connection; return False if there are too many, and it must be closed."""
        key = _key(address)
        with self._lock:
            if self._pending[key] >= _MAX_PENDING_PER_ADDRESS or self._pending.total() >= self._most:
                return False
            self._pending[key] += 1
            return True

    def associate(self, address: str) -> None:
        """Count a connection as an association. Raises Rejected (local limit exceeded) if there are too many."""
        key = _key(address)
        with self._lock:
            if self._associated.total() >= self._most or self._associated[key] >= self._most_per_address:
                raise Rejected(2, 3, 2, "BUSY", "there are too many associations")
            _subtract(self._pending, key)
            self._associated[key] += 1

    def disconnect(self, address: str, *, was_associated: bool) -> None:
        """Forget a connection."""
        with self._lock:
            _subtract(self._associated if was_associated else self._pending, _key(address))


def _subtract(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _key(address: str) -> str:
    """Return the address, or its /64 network for IPv6, which one host may have as a whole."""
    return str(ip_network(f"{address.partition('%')[0]}/64", strict=False)) if ":" in address else address
