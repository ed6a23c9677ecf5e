"""Records of quarantined blobs, which the index does not know.

    quarantine/<microseconds since 1970 UTC, 20 digits>-<digest>    locators, one per line; digest of these lines

All functions block.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from server.adapters.blobs.objects.client import NotFound, ObjectClient
from server.model.errors import Reason, Unavailable
from server.model.instance import Locator

_FOLDER = "quarantine"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_READS = 5


class ObjectQuarantine:
    """The quarantine of one store."""

    def __init__(self, client: ObjectClient) -> None:
        self._client = client

    def add(self, locators: Sequence[Locator], now: datetime) -> None:
        """Record a batch durably; a batch that is already recorded keeps its time."""
        text = _text(locators)
        if not self._records_of(text):
            self._client.create(f"{_FOLDER}/{(now - _EPOCH) // _MICROSECOND:020}-{_digest(text)}", text)

    def remove(self, locators: Sequence[Locator]) -> None:
        """Remove the record of a batch."""
        self._client.delete(self._records_of(_text(locators)))

    def names(self, until: datetime | None) -> Iterator[str]:
        """Yield the records of `until` and before, or all of them, oldest first."""
        last = None if until is None else (until - _EPOCH) // _MICROSECOND
        for name in sorted(found.name for found in self._client.names(_FOLDER)):
            if last is None or int(name.removeprefix(f"{_FOLDER}/").partition("-")[0]) <= last:
                yield name

    def read(self, name: str) -> list[Locator]:
        """Return the batch of a record; empty if the record was removed. Raises: Unavailable, also if it is damaged."""
        for _ in range(_READS):
            try:
                text, _etag = self._client.get(name)
            except NotFound:
                return []
            if _digest(text) == name.rpartition("-")[2]:
                return text.decode("ascii").split()
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, "A record of quarantined blobs is damaged.")

    def _records_of(self, text: bytes) -> list[str]:
        return [found.name for found in self._client.names(_FOLDER) if found.name.endswith(f"-{_digest(text)}")]


def _text(locators: Sequence[Locator]) -> bytes:
    return "".join(f"{locator}\n" for locator in sorted(locators)).encode("ascii")


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:32]
