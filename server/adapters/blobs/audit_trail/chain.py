"""The chain of the records of one writer: numbers, times and digests of new records."""

import hashlib
import time
from binascii import hexlify
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from server.adapters.blobs.audit_trail.log_lines import START
from server.model.audit.trail import WriterId
from server.ports.audit import Written

_SECOND = 1_000_000_000


class NewRecord(NamedTuple):
    """A record to append.

    data: a JSON object.
    time_ns: since 1970.
    written: is called on the event loop; None if nobody waits.
    may_use_reserve: on a full disk, the reserve may be used.
    """

    data: bytes
    time_ns: int
    written: Written | None = None
    may_use_reserve: bool = False


class BrokenLogError(OSError):
    """The file has an unknown state: nothing may be appended to it any more."""


class Writer(Protocol):
    """Appends the records of one process. Used by one thread; all functions block.

    sealed: number of the last record in a checkpoint.
    """

    id: WriterId
    sealed: int

    @property
    def number(self) -> int:
        """The number of the last record."""
        ...

    def enter(self) -> None:
        """Register this writer. Raises: OSError, DicomStoreError, ForeignKey."""
        ...

    def write(self, records: Sequence[NewRecord]) -> None:
        """Append records durably: all or none.

        Raises:
            BrokenLogError: the trail may have some of them; nothing may be appended with this writer any more.
            OSError, DicomStoreError: it has none of them.
        """
        ...

    def checkpoint(self) -> None:
        """Seal all records. The next write records the checkpoint, so that its removal is detected. Raises: OSError,
        DicomStoreError."""
        ...

    def close(self) -> None:
        """Seal all records as the last ones. Raises: OSError, DicomStoreError."""
        ...

    def abandon(self) -> None:
        """Stop writing, so that another writer seals the records."""
        ...


class Chain:
    """The state after the last record: its number, digest and time."""

    def __init__(self) -> None:
        self.number = 0
        self.digest = START
        self.time = b""
        self._second = -1
        self._second_text = b""

    @property
    def state(self) -> tuple[int, bytes, bytes]:
        """The state, to be restored if records could not be written."""
        return self.number, self.digest, self.time

    @state.setter
    def state(self, state: tuple[int, bytes, bytes]) -> None:
        self.number, self.digest, self.time = state

    def lines(self, records: Iterable[NewRecord]) -> list[bytes]:
        """Return the lines of the next records. Times ascend."""
        number, digest, last = self.number, self.digest, self.time
        found = []
        for record in records:
            number += 1
            second, rest = divmod(record.time_ns, _SECOND)
            if second != self._second:
                self._second = second
                self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            moment = b"%b.%06dZ" % (self._second_text, rest // 1000)
            if moment > last:
                last = moment
            data = b'{"n":%d,"time":"%b",%b' % (number, last, record.data[1:])
            digest = hashlib.sha256(digest + data).digest()
            found.append(b"%b %b\n" % (hexlify(digest), data))
        self.number, self.digest, self.time = number, digest, last
        return found
