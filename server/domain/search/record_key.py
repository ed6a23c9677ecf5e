"""Record Key (0008,041B): the place of a match in the order of its level (PS3.4 section C.6.4).

Twelve bytes that ascend as matches come: the match's key in the index counted down, which never changes and is never
given twice, and a check, by which what is no key of this level and partition is told. They depend on nothing else of a
query, so a key got from one is good for another, and stays good when its match is deleted.
"""

import hashlib
import struct

from server.model.errors import InvalidRequest, Reason
from server.model.ids import PartitionName
from server.model.search.query import Level

_FORM = struct.Struct(">Q4s")
_GREATEST = 2**63 - 1


def make(key: int, level: Level, partition: PartitionName) -> bytes:
    """Return the Record Key of the match with `key`."""
    return _FORM.pack(_GREATEST - key, _check(key, level, partition))


def read(record_key: bytes, level: Level, partition: PartitionName) -> int:
    """Return the key that `make` was given.

    Raises:
        InvalidRequest: INVALID_FIELD, when it is none of this level and partition.
    """
    if len(record_key) == _FORM.size:
        place, check = _FORM.unpack(record_key)
        if place <= _GREATEST and check == _check(_GREATEST - place, level, partition):
            return int(_GREATEST - place)
    message = "PriorRecordKey: the value is not the Record Key of a match at this level of this partition."
    raise InvalidRequest(Reason.INVALID_FIELD, message, field="prior_record_key")


def _check(key: int, level: Level, partition: PartitionName) -> bytes:
    return hashlib.blake2b(f"{level.name}\n{key}\n{partition}".encode(), digest_size=4).digest()
