"""Storage outside of the index, selected by one URL."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from server.ports.archive import IdentityRecord, MarkRecord
from server.ports.audit import AuditTrail
from server.ports.blobs import BlobStore
from server.ports.journal import ArchiveJournal
from server.ports.scrub import ScrubRecord


class Storage(Protocol):
    """The blobs, and the records that must survive a loss of the index and are therefore stored with the blobs.

    One object belongs to one process; several processes may use the same storage concurrently. Nothing is read or
    written before a part is used.
    """

    @property
    def directories(self) -> Sequence[Path]:
        """The local directories whose disk can become full; none for a store on other machines."""
        ...

    @property
    def identity(self) -> IdentityRecord:
        """The identity of the archive that the blobs belong to."""
        ...

    @property
    def marks(self) -> MarkRecord:
        """The progress of the index."""
        ...

    @property
    def journal(self) -> ArchiveJournal:
        """The journal of blobs that no instance refers to any more."""
        ...

    @property
    def scrub(self) -> ScrubRecord:
        """The position of the scrub."""
        ...

    @property
    def audit(self) -> AuditTrail:
        """The audit trail."""
        ...

    def blobs(self) -> AbstractAsyncContextManager[BlobStore]:
        """Open the blobs.

        Raises, when entered:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def gather_records(self) -> None:
        """Copy the records that must be kept from further stores to the one that is written, if there are several, so
        that those stores can be removed; blocking. Repeating it has no further effect.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def close(self) -> None:
        """Close the marks and the journal of this process durably, and release resources; blocking. Never fails."""
        ...
