"""The identities of the two halves of an archive: blobs and index."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.model.store_id import NO_ID, StoreId

ArchiveId = str
"""Random; generated with the archive and stored in both halves."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an index has come: the last version that was committed, and the last change-feed sequence.

    shard: where the version was given out. Versions of one shard become visible in ascending order.
    """

    version: int = 0
    sequence: int = 0
    shard: int = 0

    def is_behind(self, other: "Mark") -> bool:
        """Return whether an index with this mark lacks transactions that `other` has."""
        return self.version < other.version or self.sequence < other.sequence


@dataclass(frozen=True, slots=True)
class BlobsIdentity:
    """Identity of the data directory.

    place: the directory, for messages.
    id: of the archive; None if the directory has none yet.
    is_bound: the index is known to have the same id; False while the two are being bound.
    has_blobs: the directory holds, or held, bytes of instances.
    mark: a lower bound of the progress of the index.
    is_recovering: a recovery of the index was started and has not finished.
    requires_authentication: the index has, or had, archive tokens.
    stores: ids of the stores whose blobs can be read.
    further: of the stores that are only read and erased from, their places by id.
    has_unbound_stores: one of several stores has no archive id yet.
    writes_elsewhere: a process writes to one of the further stores.
    """

    place: str
    id: ArchiveId | None
    is_bound: bool
    has_blobs: bool
    mark: Mark = Mark()
    is_recovering: bool = False
    requires_authentication: bool = False
    stores: frozenset[StoreId] = frozenset((NO_ID,))
    further: Mapping[StoreId, str] = field(default_factory=dict)
    has_unbound_stores: bool = False
    writes_elsewhere: bool = False

    @property
    def primary(self) -> StoreId:
        """The id of the store that is written."""
        [primary] = self.stores - self.further.keys()
        return primary


@dataclass(frozen=True, slots=True)
class IndexIdentity:
    """Identity of the database.

    place: the file or URL without a password, for messages.
    id: of the archive; None if the database has none yet.
    is_new: nothing was ever stored in it.
    has_instances: it references blobs.
    damage: why it is unreadable, or empty although its file exists; "" if neither applies.
    mark: its progress.
    damaged_log: path of the copy of the write-ahead log, if that is damaged and transactions are missing; else "".
    stores: ids of the stores of the blobs that it references.
    """

    place: str
    id: ArchiveId | None = None
    is_new: bool = True
    has_instances: bool = False
    damage: str = ""
    mark: Mark = Mark()
    damaged_log: str = ""
    stores: frozenset[StoreId] = frozenset()
