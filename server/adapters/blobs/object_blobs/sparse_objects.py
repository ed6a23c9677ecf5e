"""Finds packed objects whose live blobs should be moved, so that the objects can be deleted.

Only objects with erased blobs are examined, by the records of these (see `erasure`). An object is rewritten if less
than half of it lives, and also a day after the first erasure in it: erased bytes do not stay for ever.

A pass lists all records, and examines those that were changed since the pass before. The others are examined again
every six hours: blobs that could not be moved, because their instances were being changed, are found again. Memory does
not grow with the number of records.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from server.adapters.blobs.object_blobs.erasure import Erasure
from server.adapters.blobs.object_blobs.names import BLOBS, ERASED, ObjectName, Place, parse_name
from server.adapters.blobs.objects.client import Listed, ObjectClient

_ERASED_FOR = timedelta(days=1)
_EXAMINED_EVERY = timedelta(hours=6)
_SKEW = timedelta(minutes=10)
"""Most by which the clock of the service may differ from that of this process."""

_BATCH_BYTES = 4 << 20
_BATCH = 500
_STEP = 1000
_EXAMINED = 20  # costs of examining a record, in those of listing one


class SparseObjects:
    """Examines records of erased blobs."""

    def __init__(self, client: ObjectClient, erasure: Erasure) -> None:
        self._client = client
        self._erasure = erasure
        self._last_began: datetime | None = None  # of the last complete pass
        self._began: datetime | None = None  # of the pass in progress
        self._after: str | None = None  # the last record that it has dealt with

    def find(self) -> Iterator[list[Place]]:
        """Yield the blobs to move, in batches of at most 500 and a few MiB; blocks.

        A batch is empty after 1000 listed records, or fewer if they had to be examined. A pass that the caller does not
        read to its end is continued by the next call.
        """
        if self._began is None:
            self._began = datetime.now(UTC)
        cost = 0
        for found in self._client.names(ERASED, after=self._after):
            cost += 1
            if self._is_due(found, self._began):
                cost += _EXAMINED
                yield from _batches(self._live_of(found))
            self._after = found.name
            if cost >= _STEP:
                cost = 0
                yield []
        self._last_began, self._began, self._after = self._began, None, None

    def _is_due(self, found: Listed, now: datetime) -> bool:
        last, changed = self._last_began, found.last_modified
        if last is None or changed > last - _SKEW:
            return True
        return (last - changed) // _EXAMINED_EVERY != (now - changed) // _EXAMINED_EVERY

    def _live_of(self, found: Listed) -> list[Place]:
        """Return the live blobs of an object if they should be moved. An object without any is deleted."""
        name = parse_name(found.name)
        if name is None:
            return []
        every = self._erasure.directory(name)
        if every is None:
            self._remove_record_of_none(name)
            return []
        erased = self._erasure.erased(name)
        live = [entry for entry in every if entry.offset not in erased.offsets]
        if not live:
            self._erasure.forget(name)
            return []
        is_old = datetime.now(UTC) - (erased.since or found.last_modified) > _ERASED_FOR
        live_bytes = sum(entry.stored_bytes for entry in live)
        if not is_old and 2 * live_bytes >= sum(entry.stored_bytes for entry in every):
            return []
        return [Place(name, entry.offset, entry.length, entry.is_derived) for entry in live]

    def _remove_record_of_none(self, name: ObjectName) -> None:
        """Remove the record of an object that was deleted before; not if a listing has the object."""
        generation = self._client.names(f"{BLOBS}/{name.generation}")
        if all(found.name != name.path for found in generation):
            self._client.delete([name.erased_path])


def _batches(places: list[Place]) -> Iterator[list[Place]]:
    batch: list[Place] = []
    size = 0
    for place in places:
        batch.append(place)
        size += place.length
        if size >= _BATCH_BYTES or len(batch) == _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
