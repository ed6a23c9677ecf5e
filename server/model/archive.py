"""What the two halves of an archive, blobs and index, say of the archive they belong to."""

from dataclasses import dataclass

ArchiveId = str
"""Random, made with the archive; both halves carry it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an index has come: the last version and change-feed sequence it gave out."""

    version: int = 0
    sequence: int = 0

    def is_behind(self, other: "Mark") -> bool:
        """Say whether an index here has lost what one there had."""
        return self.version < other.version or self.sequence < other.sequence


@dataclass(frozen=True, slots=True)
class BlobsIdentity:
    """What the data directory says.

    place: the directory, for messages.
    id: of the archive; None if there is none yet.
    is_bound: the index is known to carry the same id; False while the two are being bound together.
    has_blobs: there are bytes of instances, or were.
    mark: the index has been there at least.
    is_recovering: a recovery of the index has begun and not ended.
    """

    place: str
    id: ArchiveId | None
    is_bound: bool
    has_blobs: bool
    mark: Mark = Mark()
    is_recovering: bool = False


@dataclass(frozen=True, slots=True)
class IndexIdentity:
    """What the database says.

    place: the file or URL without a password, for messages.
    id: of the archive; None if there is none yet.
    is_new: nothing was ever stored in it.
    has_instances: it names blobs.
    damage: why it can't be read, or is empty although its file is there; empty if neither.
    mark: where it is.
    damaged_log: where the write-ahead log is kept, if it is damaged and transactions are missing; else empty.
    """

    place: str
    id: ArchiveId | None = None
    is_new: bool = True
    has_instances: bool = False
    damage: str = ""
    mark: Mark = Mark()
    damaged_log: str = ""
