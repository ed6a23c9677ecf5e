"""Records of an archive beside its blobs, by which a wrong, old or lost index is detected. All calls block."""

from contextlib import AbstractContextManager
from typing import Protocol

from server.model.archive import ArchiveId, BlobsIdentity, Mark


class IdentityRecord(Protocol):
    """The identity of the archive that the blobs belong to."""

    def lock(self) -> AbstractContextManager[None]:
        """Block other processes that start on these blobs. Creates the storage location if necessary.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def read(self) -> BlobsIdentity:
        """Return the recorded identity. The storage location need not exist.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, also when the record is damaged.
        """
        ...

    def write(self, archive: ArchiveId, *, is_bound: bool, is_recovering: bool = False) -> None:
        """Record an identity atomically and durably. Call it in `lock`. Raises: as `lock`."""
        ...

    def assign_store_id(self) -> None:
        """Record a store id durably, with which the locators of all blobs begin from now on. Call it in `lock`, before
        there are blobs. A store that has one keeps it.

        Raises: as `lock`.
        """
        ...

    def require_authentication(self) -> None:
        """Record durably that the archive has an access token, in case that the index is lost. Raises: as `lock`."""
        ...


class MarkRecord(Protocol):
    """The progress of the index: each process records a mark, and the highest one counts."""

    @property
    def latest(self) -> Mark:
        """The last mark of this process."""
        ...

    def enter(self) -> Mark:
        """Start the mark of this process at the highest of all marks, and return that.

        Call it while no other process enters, see `IdentityRecord.lock`. Never fails: without disk space for another
        mark, this process has none and the others remain.
        """
        ...

    def record(self, mark: Mark) -> None:
        """Record a commit. Never fails: the next call records what this one could not.

        It is called after each commit, before the response, so it must be fast: a mark may become durable later.
        """
        ...

    def is_in_use(self) -> bool:
        """True if a process that changes the archive is running."""
        ...
