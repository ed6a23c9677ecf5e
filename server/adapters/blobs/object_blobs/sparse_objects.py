"""Finds packed objects whose live blobs should be moved, so that the objects can be deleted.

Only objects with erased blobs are examined, by the records of these (see `erasure`). An object is rewritten if less
than half of it lives, and also some days after something in it was erased: erased bytes do not stay for ever.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from server.adapters.blobs.object_blobs.erasure import Erasure
from server.adapters.blobs.object_blobs.names import BLOBS, ERASED, ObjectName, Place, parse_name
from server.adapters.blobs.objects.client import Listed, ObjectClient

_ERASED_FOR = timedelta(days=7)
_BATCH_BYTES = 4 << 20


class SparseObjects:
    """Examines records of erased blobs; unchanged ones are not read again."""

    def __init__(self, client: ObjectClient, erasure: Erasure) -> None:
        self._client = client
        self._erasure = erasure
        self._dense: dict[str, str] = {}  # record → entity tag
        self._emptied: dict[str, str] = {}

    def find(self) -> Iterator[list[Place]]:
        """Yield the blobs to move, in batches of a few MiB; blocks. What is yielded once is not yielded again."""
        listed = list(self._client.names(ERASED))
        names = {found.name for found in listed}
        for known in (self._dense, self._emptied):
            for gone in known.keys() - names:
                del known[gone]
        for found in listed:
            if self._emptied.get(found.name) != found.etag:
                yield from _batches(self._live_of(found))

    def _live_of(self, found: Listed) -> list[Place]:
        """Return the live blobs of an object if they should be moved. An object without any is deleted."""
        is_old = datetime.now(UTC) - found.last_modified > _ERASED_FOR
        name = parse_name(found.name)
        if name is None or (not is_old and self._dense.get(found.name) == found.etag):
            return []
        every = self._erasure.directory(name)
        if every is None:
            self._remove_record_of_none(name)
            return []
        live = self._erasure.live(name)
        if not live:
            self._erasure.forget(name)
            return []
        live_bytes = sum(entry.stored_bytes for entry in live)
        if not is_old and 2 * live_bytes >= sum(entry.stored_bytes for entry in every):
            self._dense[found.name] = found.etag
            return []
        self._emptied[found.name] = found.etag
        return [Place(name, entry.offset, entry.length, entry.is_derived) for entry in live]

    def _remove_record_of_none(self, name: ObjectName) -> None:
        """Remove the record of an object that was deleted before; not if a listing has the object."""
        generation = self._client.names(f"{BLOBS}/{name.generation}")
        if all(found.name != name.path for found in generation):
            self._client.delete([name.erased_path])


def _batches(places: list[Place]) -> Iterator[list[Place]]:
    batch: list[Place] = []
    for place in places:
        batch.append(place)
        if sum(one.length for one in batch) >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch
