"""Record Key (0008,041B): the position of a match in the order of its level (PS3.4 C.6.4).

Twelve bytes that ascend in the order of matches: the descending row key, which never changes and is never reused, and a
checksum that detects keys of another level or partition. They do not depend on the rest of the query, so a key from one
query is valid for another, even after its match has been deleted.
"""

import hashlib
import struct

from server.model.errors import InvalidRequest, Reason
from server.model.ids import PartitionName
from server.model.search.query import Level

_FORM = struct.Struct(">Q4s")
_GREATEST = 2**63 - 1


def make(key: int, level: Level, partition: PartitionName) -> bytes:
    """Return the Record Key of the match with row key `key`."""
    return _FORM.pack(_GREATEST - key, _check(key, level, partition))


def read(record_key: bytes, level: Level, partition: PartitionName) -> int:
    """Return the row key in a Record Key.

    Raises:
        InvalidRequest: INVALID_FIELD, it is not a Record Key of this level and partition.
    """
    if len(record_key) == _FORM.size:
        place, check = _FORM.unpack(record_key)
        if place <= _GREATEST and check == _check(_GREATEST - place, level, partition):
            return int(_GREATEST - place)
    message = "PriorRecordKey: the value is not the Record Key of a match at this level of this partition."
    raise InvalidRequest(Reason.INVALID_FIELD, message, field="prior_record_key")


def _check(key: int, level: Level, partition: PartitionName) -> bytes:
    return hashlib.blake2b(f"{level.name}\n{key}\n{partition}".encode(), digest_size=4).digest()
