"""Everything that is kept in one place outside of the index, as one URL selects it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from server.ports.archive import IdentityRecord, MarkRecord
from server.ports.blobs import BlobStore
from server.ports.journal import ArchiveJournal
from server.ports.scrub import ScrubRecord


class Storage(Protocol):
    """The blobs, and the records that must outlive the index and therefore lie with the blobs.

    One object belongs to one process; several processes may use the same place at once. Nothing is read or written
    before a part is used.
    """

    @property
    def directories(self) -> Sequence[Path]:
        """The local directories whose disk can become full; none for a store on other machines."""
        ...

    @property
    def identity(self) -> IdentityRecord:
        """Which archive the blobs belong to."""
        ...

    @property
    def marks(self) -> MarkRecord:
        """How far the index has come."""
        ...

    @property
    def journal(self) -> ArchiveJournal:
        """Which blobs no instance needs any more."""
        ...

    @property
    def scrub(self) -> ScrubRecord:
        """How far the scrub has come."""
        ...

    def blobs(self) -> AbstractAsyncContextManager[BlobStore]:
        """Open the blobs.

        Raises, when entered:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def close(self) -> None:
        """End this process's marks and journal, durably, and release what the records hold; blocking. Never fails."""
        ...
