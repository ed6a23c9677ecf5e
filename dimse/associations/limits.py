"""Numbers of concurrent associations: in total, and for each address."""

import threading
from collections import Counter

from dimse.associations.errors import Rejected


class AssociationCounts:
    """Counts the associations of this process, so that none takes the place of others."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most, self._most_per_address = most, most_per_address
        self._by_address: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, address: str) -> None:
        """Count a connection."""
        with self._lock:
            self._by_address[address] += 1

    def remove(self, address: str) -> None:
        """Forget a connection."""
        with self._lock:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def check(self, address: str) -> None:
        """Raise Rejected (transient: local limit exceeded) if there are too many, the connection included."""
        with self._lock:
            if self._by_address.total() > self._most or self._by_address[address] > self._most_per_address:
                raise Rejected(2, 3, 2, "there are too many associations")

    def is_far_over(self) -> bool:
        """Return whether there are so many connections that new ones are closed without a response."""
        with self._lock:
            return self._by_address.total() >= 2 * self._most
