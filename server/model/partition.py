"""Data partitions."""

import enum
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import PartitionName


class DuplicatePolicy(enum.IntEnum):
    """What happens to an instance whose UIDs are stored already, with other content.

    The numbers are those of the contract. REJECT: it fails. NEW_VERSION: it becomes the current version.
    """

    REJECT = 1
    NEW_VERSION = 2


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; keys ascend in order of creation, the default partition has key 1.

    duplicates: None means the policy of the settings.
    """

    key: int
    name: PartitionName
    created: datetime
    duplicates: DuplicatePolicy | None = None


@dataclass(frozen=True, slots=True)
class PartitionUsage:
    """Contents of a partition.

    stored_bytes: of all versions of its instances; those of deleted ones count until they are erased.
    """

    name: PartitionName
    studies: int
    series: int
    instances: int
    stored_bytes: int
