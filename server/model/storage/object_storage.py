"""Settings of a storage on an object store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.model.ids import PartitionName

ALL_PARTITIONS = "*"


@dataclass(frozen=True, slots=True)
class ObjectStorageSettings:
    """Settings that do not follow from the URL.

    cache: local directory for parts of objects that were read, and for uploads that do not fit into memory.
    cache_bytes: size of the cache; 0 caches nothing.
    storage_classes: storage class of the blobs of partitions by name; `*` is that of others. Without one, the bucket's.
    """

    cache: Path
    cache_bytes: int = 0
    storage_classes: Mapping[str, str] = field(default_factory=dict)

    def storage_class(self, partition: PartitionName) -> str | None:
        """Return the storage class of the blobs of a partition; None is that of the bucket."""
        return self.storage_classes.get(partition) or self.storage_classes.get(ALL_PARTITIONS) or None
