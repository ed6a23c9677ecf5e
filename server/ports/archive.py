"""What is kept of an archive beside its blobs, so that a wrong, old or lost index is recognised. All calls block."""

from contextlib import AbstractContextManager
from typing import Protocol

from server.model.archive import ArchiveId, BlobsIdentity, Mark


class IdentityRecord(Protocol):
    """Which archive the blobs belong to."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold off other processes that start on these blobs. Makes the place of the blobs if there is none.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def read(self) -> BlobsIdentity:
        """Return what is recorded. The place of the blobs need not exist.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, also when the record is damaged.
        """
        ...

    def write(self, archive: ArchiveId, *, is_bound: bool, is_recovering: bool = False) -> None:
        """Record an identity durably, whole or not at all. Raises: as `lock`."""
        ...


class MarkRecord(Protocol):
    """How far the index has come: a mark of each process, of which the highest counts."""

    @property
    def latest(self) -> Mark:
        """The last mark of this process."""
        ...

    def enter(self) -> Mark:
        """Begin this process's mark where the highest of all marks is, and return that.

        To be called while no other process enters, see `IdentityRecord.lock`. Never fails: without room for another
        mark the others stay, and this process does without.
        """
        ...

    def note(self, mark: Mark) -> None:
        """Note what has been committed. Never fails: what can't be noted now is noted with the next.

        It is called after each commit, before the response, so it must be quick: a mark may become durable later.
        """
        ...

    def is_in_use(self) -> bool:
        """Say whether a process that changes the archive runs."""
        ...
