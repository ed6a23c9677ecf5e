"""Data partitions."""

from dataclasses import dataclass
from datetime import datetime

from server.model.ids import PartitionName


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; keys ascend in order of creation, the default partition has key 1."""

    key: int
    name: PartitionName
    created: datetime
