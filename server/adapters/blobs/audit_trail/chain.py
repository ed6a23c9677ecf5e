"""The chain of the records of one writer: numbers, times and digests of new records."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from server.adapters.blobs.audit_trail.log_lines import MAX_GROUP_BYTES, SEPARATOR, START, digest_of, formatted
from server.model.audit.trail import WriterId


class NewRecords(NamedTuple):
    """Records to append.

    text: the records as in a line, see `log_lines`.
    total: their number.
    time: of the first one.
    written: is resolved on the event loop, if a caller waits for the result.
    rows: of the outbox, one for each record that has one.
    unique: number of records that are lost if they cannot be written: no caller waits for them, and no row of the
        outbox has them.
    may_use_reserve: on a full disk, the reserve may be used.
    """

    text: bytes
    total: int
    time: bytes
    written: "asyncio.Future[None] | None" = None
    rows: Sequence[int] = ()
    unique: int = 0
    may_use_reserve: bool = False


def new_record(
    data: bytes,
    time: bytes,
    written: "asyncio.Future[None] | None" = None,
    *,
    may_use_reserve: bool = False,
) -> NewRecords:
    """Return one record. `data` is a JSON object, which gets the time as its first member."""
    text = b'{"time":"%b",%b' % (time, data[1:])
    return NewRecords(text, 1, time, written, unique=int(written is None), may_use_reserve=may_use_reserve)


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

    def write(self, records: Sequence[NewRecords]) -> None:
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
    """The state after the last record: its number, and the digest of its line."""

    def __init__(self) -> None:
        self.number = 0
        self.digest = START

    @property
    def state(self) -> tuple[int, bytes]:
        """The state, to be restored if records could not be written."""
        return self.number, self.digest

    @state.setter
    def state(self, state: tuple[int, bytes]) -> None:
        self.number, self.digest = state

    def lines(self, records: Iterable[NewRecords]) -> list[bytes]:
        """Return the lines of the next records."""
        found, texts, size, count = [], list[bytes](), 0, 0
        for one in records:
            texts.append(one.text)
            size += len(one.text)
            count += one.total
            if size >= MAX_GROUP_BYTES:
                found.append(self._line(texts, count))
                texts, size, count = [], 0, 0
        if texts:
            found.append(self._line(texts, count))
        return found

    def _line(self, texts: Sequence[bytes], count: int) -> bytes:
        text = b"%d %b" % (self.number + 1, SEPARATOR.join(texts))
        self.digest = digest_of(self.digest, text)
        self.number += count
        return formatted(self.digest, text)


class Clock:
    """The times of the records of one process, as texts. They ascend, also if the clock of the machine is set back."""

    def __init__(self) -> None:
        self._last = 0  # microseconds since 1970
        self._second = -1_000_000  # in microseconds, too
        self._second_text = ""

    def now(self) -> bytes:
        """Return the time in UTC, as in "2026-01-31T23:59:59.123456Z"."""
        return self.text(time.time()).encode()

    def text(self, seconds: float) -> str:
        """Return a time, given in seconds since 1970; not before the one that was returned last."""
        now = int(seconds * 1e6)
        if now < self._last:
            now = self._last
        self._last = now
        rest = now - self._second
        if not 0 <= rest < 1_000_000:
            second, rest = divmod(now, 1_000_000)
            self._second = second * 1_000_000
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._second_text}{rest:06d}Z"
