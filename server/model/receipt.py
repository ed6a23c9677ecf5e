"""What is kept beside the bytes of an instance, so that a lost index can be rebuilt from the blobs."""

from dataclasses import dataclass
from datetime import datetime

from server.model.ids import PartitionName


@dataclass(frozen=True, slots=True)
class Receipt:
    """How an instance came.

    partition: it was stored into.
    time: of receipt, by a clock that never jumps, so that times give the order of receipt.
    version: the last one that the process knew to be given out then.
    """

    partition: PartitionName
    time: datetime
    version: int
