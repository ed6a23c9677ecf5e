"""The record stored with the bytes of an instance, so that a lost index can be rebuilt from the blobs."""

from dataclasses import dataclass
from datetime import datetime

from server.model.ids import PartitionName


@dataclass(frozen=True, slots=True)
class Receipt:
    """The circumstances of a store request.

    partition: the target partition.
    time: of receipt, by a clock that never jumps, so that times give the order of receipt.
    version: the last assigned version that the process knew at that time.
    """

    partition: PartitionName
    time: datetime
    version: int
