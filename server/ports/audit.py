"""The audit trail: append-only records, in the storage."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Protocol

from server.model.audit.trail import AuditTrailSettings, Positions, StoredRecord, Verification
from server.model.errors import DicomStoreError
from server.ports.outbox import ProcessNumber

OnRows = Callable[[Sequence[int], DicomStoreError | None], None]
"""Gets the rows of the outbox of some records, and their result: None, or why they could not be written."""


class DeferredRecord(Protocol):
    """A record that is encoded later."""

    def members(self) -> str:
        """Return the members of the JSON object. Called once, on the event loop."""
        ...

    @property
    def ended(self) -> float:
        """The time of the record on the monotonic clock, in seconds. Read after `members`."""
        ...

    @property
    def row(self) -> int:
        """The row of the outbox that has it, for `AuditLog.on_rows`; 0 if there is none."""
        ...

    @property
    def is_in_index(self) -> bool:
        """True if that row has all of it, so that it is not counted as lost if it cannot be written. Read after
        `members`."""
        ...


class AuditLog(Protocol):
    """The audit trail as one process writes to it. Records are JSON objects of at most MAX_RECORD_BYTES."""

    on_rows: OnRows
    """Is called on the event loop when records with a row are durable, or have failed."""

    @property
    def failure(self) -> DicomStoreError | None:
        """Why the last records could not be written; None if they were."""
        ...

    @property
    def is_backlogged(self) -> bool:
        """True if the caller must await `room` before it appends."""
        ...

    async def room(self) -> None:
        """Wait until fewer records are pending."""
        ...

    def expedite(self) -> None:
        """Write the pending records now, because somebody is about to wait for one of them."""
        ...

    def append(self, record: bytes, *, may_use_reserve: bool = False) -> bool:
        """Append a record; it is durable shortly after. Records that cannot be written are counted in a later one.

        Returns `is_backlogged`.
        """
        ...

    def append_deferred(self, record: DeferredRecord) -> bool:
        """Append a record like `append`, but encode it together with others, before any record that is appended later.

        Returns `is_backlogged`.
        """
        ...

    def hold(self, record: DeferredRecord) -> None:
        """Append a record like `append_deferred`, but encode it only with `release`, before any record that is appended
        by `append` or `append_durably` later, or before the next write."""
        ...

    def is_held(self, record: DeferredRecord) -> bool:
        """Return whether a record of `hold` is not encoded, nor released."""
        ...

    def release(self, record: DeferredRecord) -> None:
        """Append a held record like `append_deferred`, after it got its final content."""
        ...

    def append_durably(self, record: bytes, *, may_use_reserve: bool = False, soon: bool = False) -> Awaitable[None]:
        """Append a record; await the result to know that it is durable. Not awaiting it is allowed.

        Args:
            may_use_reserve: on a full disk, use the reserve.
            soon: it may wait for others that can be written with it, at most until `expedite`.

        Raises, when awaited:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...


class AuditTail(Protocol):
    """Reads records as they are appended, each once. Calls block."""

    @property
    def positions(self) -> Positions:
        """The positions after the records that were returned."""
        ...

    def poll(self, limit: int) -> Sequence[StoredRecord]:
        """Return at most about `limit` new records. Raises: Unavailable (STORAGE_UNAVAILABLE)."""
        ...


class AuditTrail(Protocol):
    """The audit trail of all processes that use a storage."""

    def open(self, settings: AuditTrailSettings) -> AbstractAsyncContextManager[AuditLog]:
        """Begin to write. Seals the records of ended processes first.

        Raises, when entered:
            WrongAuditKey
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def process(self) -> AbstractContextManager[ProcessNumber]:
        """Register this process for the outbox; enters with its number; blocks. Raises, when entered: as `open`."""
        ...

    def has_ended(self, process: ProcessNumber) -> bool:
        """Return whether a registered process has ended, or is unknown here; blocks. Raises: Unavailable."""
        ...

    def replace_key(self, old: Path, new: AuditTrailSettings) -> None:
        """Sign with the key of the settings from now on; blocks. If file `old` has the key until now, it signs the new
        one.

        Raises: Unavailable (STORAGE_UNAVAILABLE).
        """
        ...

    def public_key(self) -> str:
        """Return the public key that signs checkpoints, as PEM; "" if there is none; blocks. Raises: Unavailable."""
        ...

    def records(self, start: str = "", end: str = "") -> Iterator[StoredRecord]:
        """Yield the records with `start` <= time < `end`, oldest first; blocks. Raises: Unavailable."""
        ...

    def tail(self, positions: Positions | None) -> AuditTail:
        """Return a reader of the records after these positions, or after the present ones; blocks."""
        ...

    def verify(self, *, trusted_key: str = "", checkpoint: str = "") -> Verification:
        """Verify all records; blocks.

        Args:
            trusted_key: public key as PEM that must have signed; "" trusts the one in the trail.
            checkpoint: of an earlier verification.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
            InvalidRequest: INVALID_FIELD, `trusted_key` is not an Ed25519 key.
        """
        ...

    def load_position(self, name: str) -> Positions | None:
        """Return a saved position; None if there is none; blocks. Raises: Unavailable."""
        ...

    def save_position(self, name: str, positions: Positions) -> None:
        """Save a position durably; blocks. Raises: Exhausted, Unavailable."""
        ...

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Hold a lock that one process at a time has; enters with False if another one has it."""
        ...


class WrongAuditKey(Exception):
    """The checkpoints are signed with another key; the message says what to do."""


class SyslogConnection(Protocol):
    """An open connection."""

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send messages, and wait until the other host has acknowledged all bytes.

        Raises:
            OSError: the connection is broken, or nothing was acknowledged for a while. The messages may have arrived.
        """
        ...


class SyslogServer(Protocol):
    """A syslog server."""

    def connect(self) -> AbstractAsyncContextManager[SyslogConnection]:
        """Open a connection. Raises, when entered: OSError."""
        ...
