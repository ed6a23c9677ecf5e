"""Lists of erased blobs, so that every machine removes them from its cache.

    erased-lists/<number, 16 digits>    places of erased blobs, as in locators, one a line; CRC-32C of these lines

Numbers have no gaps: a list is created under the number after the newest one, and only the oldest are removed, never
the newest. So a reader that knows up to which number it has read notices if lists are missing. All functions block.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from server.adapters.blobs.checksums import crc32c_of
from server.adapters.blobs.object_blobs.names import Locators, Place
from server.adapters.blobs.objects.client import Exists, NotFound, ObjectClient
from server.model.errors import Reason, Unavailable

_FOLDER = "erased-lists"
_KEPT = timedelta(days=30)
_REMOVED_AT_ONCE = 1000
_PLACES = 1000
"""Most places in a list."""

_READS = 5
_CHECK_BYTES = 9
_LOCATORS = Locators()


class Missing(Exception):
    """Lists that a reader has not read were removed, or the store is in an earlier state."""


class ErasedLists:
    """The lists of one store."""

    def __init__(self, client: ObjectClient) -> None:
        self._client = client
        self._newest = 0  # as far as it is known

    def add(self, places: Sequence[Place]) -> None:
        """Add erased blobs durably. Raises: as `ObjectClient`."""
        for start in range(0, len(places), _PLACES):
            text = "".join(f"{_LOCATORS.of(place)}\n" for place in places[start : start + _PLACES]).encode("ascii")
            data = text + b"%08x\n" % crc32c_of(text)
            while True:
                number = self.newest() + 1
                try:
                    self._client.create(_name(number), data)
                except Exists:  # that of another process
                    continue
                break

    def newest(self) -> int:
        """Return the number of the newest list; 0 if there is none. Raises: as `ObjectClient`."""
        newest = self._newest
        for found in self._client.names(_FOLDER, after=_name(newest)):
            newest = max(newest, _number(found.name))
        self._newest = newest
        return newest

    def last_before(self, time: datetime) -> int:
        """Return the number of the last list from before a time, or of the first list; 0 if there is none."""
        number = 0
        for found in self._client.names(_FOLDER):
            if number and found.last_modified > time:
                break
            number = _number(found.name)
            if found.last_modified > time:
                break
        return number

    def after(self, number: int) -> Iterator[tuple[int, list[Place]]]:
        """Yield the lists after a number, with their numbers.

        Raises:
            Missing: there are none from this number on, although they are not new.
            as `ObjectClient`.
        """
        expected = max(number, 1)
        for found in self._client.names(_FOLDER, after=_name(expected - 1)):
            if _number(found.name) != expected:
                raise Missing
            if expected > number:
                yield expected, self.read(expected)
            expected += 1
        if number and expected == number:
            raise Missing

    def remove_old(self) -> None:
        """Remove old lists; a machine that was not running for so long empties its cache. Raises: as `ObjectClient`."""
        oldest = datetime.now(UTC) - _KEPT
        old: list[str] = []
        for found in self._client.names(_FOLDER):
            if found.last_modified > oldest:
                break
            old.append(found.name)
            if len(old) > _REMOVED_AT_ONCE:
                self._client.delete(old[:-1])
                del old[:-1]
        else:
            del old[-1:]  # the newest
        self._client.delete(old)

    def read(self, number: int) -> list[Place]:
        """Return the blobs of a list. Raises: Missing; as `ObjectClient`."""
        for _ in range(_READS):
            try:
                data, _etag = self._client.get(_name(number))
            except NotFound:
                raise Missing from None
            text, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
            if check == b"%08x\n" % crc32c_of(text):
                places = map(_LOCATORS.place, text.decode("ascii").split())
                return [place for place in places if place is not None]
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, "A list of erased blobs is damaged.")


def _name(number: int) -> str:
    return f"{_FOLDER}/{number:016}"


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])
